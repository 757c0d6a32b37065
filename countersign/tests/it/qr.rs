//! The QR codes of the terminal, read by somebody else's reader.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Demo, PASSWORD, cs, has_tool, secret_of, two_codes_of};

/// The blocks of lines that are drawn with half blocks alone.
fn drawn(text: &str) -> Vec<Vec<&str>> {
    let is_drawn = |line: &&str| line.contains(['█', '▀', '▄']) && line.chars().all(|c| "█▀▄ ".contains(c));
    let mut blocks: Vec<Vec<&str>> = vec![Vec::new()];
    for line in text.lines() {
        if is_drawn(&line) {
            blocks.last_mut().unwrap().push(line);
        } else if !blocks.last().unwrap().is_empty() {
            blocks.push(Vec::new());
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// As a dark terminal shows it: what is drawn is light. Eight pixels to a module.
fn picture(block: &[&str]) -> Vec<u8> {
    const SCALE: usize = 8;
    let width = block.iter().map(|line| line.chars().count()).max().unwrap();
    let mut rows: Vec<Vec<u8>> = Vec::new();
    for line in block {
        let cells: Vec<char> = line.chars().chain(std::iter::repeat(' ')).take(width).collect();
        for light in [['█', '▀'], ['█', '▄']] {
            let row = cells.iter().flat_map(|c| [if light.contains(c) { 255 } else { 0 }; SCALE]).collect::<Vec<u8>>();
            rows.extend(std::iter::repeat_n(row, SCALE));
        }
    }
    let mut picture = format!("P5\n{} {}\n255\n", width * SCALE, rows.len()).into_bytes();
    picture.extend(rows.concat());
    picture
}

#[track_caller]
fn read(block: &[&str], folder: &Path) -> String {
    assert!(block.len() < 24, "{} lines do not fit 24 with a prompt", block.len());
    for line in block {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let file = folder.join("qr.pgm");
    std::fs::write(&file, picture(block)).unwrap();
    let output = Command::new("zbarimg").args(["--quiet", "--raw", "--nodbus"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "zbarimg reads nothing:\n{}", block.join("\n"));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn the_demos_people_can_be_scanned() {
    if !has_tool("zbarimg") {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("demo");
    let mut job = cs(["demo", "--listen", "127.0.0.1:0", "--dir", dir.to_str().unwrap()]).start();
    job.prints("Ctrl-C here stops the server");
    let text = job.stdout();
    let blocks = drawn(&text);
    let demo: Value = serde_json::from_slice(&std::fs::read(dir.join("demo.json")).unwrap()).unwrap();
    let people = demo["people"].as_array().unwrap();
    assert_eq!(blocks.len(), people.len(), "{text}");
    for (block, person) in blocks.iter().zip(people) {
        assert_eq!(read(block, base.path()), person["otpauth"].as_str().unwrap());
        assert!(text.contains(person["password"].as_str().unwrap()));
    }
    // The commands to paste work as they stand there.
    assert!(text.contains("--as alice run --reason") && text.contains("demo") && text.contains("approve ID"), "{text}");
}

#[test]
fn enrolment_and_init_draw_what_they_print() {
    if !has_tool("zbarimg") {
        return;
    }
    let Some(demo) = Demo::start() else { return };
    let data = demo.file("data");
    let init = cs(["init", "--admin", "root", "--password-stdin", "--dir", data.to_str().unwrap()]);
    let text = init.stdin(format!("{PASSWORD}\n")).run().ok().text();
    let url = text.lines().find(|line| line.starts_with("otpauth://")).unwrap();
    assert_eq!(drawn(&text).iter().map(|block| read(block, demo.base.path())).collect::<Vec<_>>(), [url]);

    let mut enroll = demo.by("alice", ["enroll", "--code-stdin"]).start();
    enroll.write(format!("{}\n", demo.code("alice")).as_bytes());
    let url = enroll.prints("otpauth://");
    let text = enroll.stdout();
    assert_eq!(drawn(&text).iter().map(|block| read(block, demo.base.path())).collect::<Vec<_>>(), [url.as_str()]);
    let [first, second] = two_codes_of(&secret_of(&url));
    enroll.write(format!("{first}\n{second}\n").as_bytes());
    enroll.end().ok();
}
