//! The demo's story, unattended: ask, countersign, run once, and a receipt that needs no server.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{Api, Cs, Demo, cs, until, wrong_code_of};

const CONFIRM: &str = r#"
version = 1

[[rule]]
id = "alice-confirms"
effect = "require"
action = "command.run"
by = "person:alice"
confirm = true
grant = { ttl = "5m", uses = 1 }
"#;

const ANY_REASON: &str = r#"
version = 1

[[rule]]
id = "alice-asks"
effect = "require"
action = "command.run"
by = "person:alice"
quorum = [{ k = 1, of = "local:security", factors = ["totp"] }]
"#;

/// Leaves a line each time it runs, writes what no text is, and ends with a code of its own.
const COMMAND: &str = r"echo ran >> ran.txt; printf 'a\000b\377\r\n\033[31m'; printf 'to stderr' >&2; exit 7";
const WRITTEN: &[u8] = b"a\0b\xff\r\n\x1b[31m";

#[test]
fn asked_countersigned_run_once_and_proved_offline() {
    let Some(mut demo) = Demo::start() else { return };
    let ran = || fs::read_to_string(demo.file("ran.txt")).unwrap_or_default();

    let (run, id) = demo.waiting(["sh", "-c", COMMAND]);
    let inbox = demo.by("bob", ["inbox", "--json"]).run().ok().json();
    assert_eq!(inbox.as_array().unwrap().len(), 1);
    assert_eq!(inbox[0]["id"], id.as_str());

    let wrong = wrong_code_of(&demo.secret("bob"));
    let refused = demo.by("bob", ["approve", &id, "--code-stdin"]).stdin(format!("{wrong}\n")).run();
    let refused = refused.with_code(1);
    assert!(!refused.all().contains(&wrong), "a code is not repeated: {}", refused.all());
    assert_eq!(demo.view("bob", &id)["stage"], "challenged");
    assert_eq!(ran(), "");

    let approved = demo.approve("bob", &id);
    // What he was shown is what ran.
    let shown = format!("command  sh -c '{}'\n", COMMAND.replace('\'', r"'\''"));
    assert!(approved.stderr.contains(&shown), "{}", approved.stderr);
    let run = run.end();
    assert_eq!((run.code(), run.stdout.as_slice()), (7, WRITTEN), "{}", run.stderr);
    assert!(run.stderr.contains("to stderr"), "{}", run.stderr);
    assert_eq!(ran(), "ran\n");

    let view = demo.view("alice", &id);
    assert_eq!((view["grant"]["state"].as_str(), view["grant"]["uses_left"].as_i64()), (Some("spent"), Some(0)));
    assert_eq!(view["releases"][0]["outcome"], "exit 7");
    let receipt = demo.receipt(&id, "receipt.json");
    let log_key = demo.log_key();

    // The grant is used up: the same command asks anew.
    let (again, other) = demo.waiting(["sh", "-c", COMMAND]);
    assert_ne!(other, id);
    drop(again);
    assert_eq!(ran(), "ran\n");

    demo.stop();
    let elsewhere = demo.base.path().join("elsewhere");
    let args = ["--home", elsewhere.to_str().unwrap(), "verify", receipt.to_str().unwrap(), "--log-key", &log_key];
    let verified = Cs::through(no_network(), args).run().ok();
    let text = verified.text();
    for part in [
        "signed by the pinned log key",
        "asked by alice",
        "reason   'testing the whole'",
        "approved by bob for local:security, with totp",
        "reported as ended: exit 7",
        "not proved",
        "reported by the requester's client",
        &shown,
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let later = text.split_once("\nnot proved:\n").unwrap().1;
    assert!(later.contains("that it ran, and how it ended (exit 7)"), "{later}");
    assert!(!elsewhere.exists(), "to verify leaves nothing behind");
}

/// Where the kernel lets us: a machine that has no network at all.
fn no_network() -> &'static [&'static str] {
    let works = Command::new("unshare").args(["--net", "true"]).output().is_ok_and(|output| output.status.success());
    if works { &["unshare", "--net"] } else { &[] }
}

#[test]
fn signals_reach_the_command_and_its_end_is_passed_on() {
    let Some(demo) = Demo::start() else { return };
    let trap = "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let (mut run, id) = demo.waiting(["sh", "-c", trap]);
    demo.approve("bob", &id);
    run.prints("ready");
    run.signal(Signal::SIGTERM);
    let run = run.end().with_code(3);
    assert_eq!(run.text(), "ready\ngot it\n");

    let killed = demo.granted(["sh", "-c", "kill -KILL $$"]);
    assert_eq!(killed.run.code(), 128 + 9);
    let view = demo.view("alice", &killed.id);
    assert_eq!(view["releases"][0]["outcome"], "signal 9");
}

#[test]
fn ctrl_c_leaves_it_pending_and_it_is_taken_up_again() {
    let Some(demo) = Demo::start() else { return };
    let command = ["sh", "-c", "echo once >> ran.txt"];
    let (run, id) = demo.waiting(command);
    run.signal(Signal::SIGINT);
    run.end().with_code(130).saying("stays pending").saying(&format!("countersign wait {id}"));
    assert_eq!(demo.view("alice", &id)["stage"], "challenged");
    assert!(!demo.file("ran.txt").exists());

    let mut wait = demo.by("alice", ["wait", &id]).start();
    wait.says("waiting for bob");
    // The same command is the same request.
    let (run, again) = demo.waiting(command);
    assert_eq!(again, id);
    run.signal(Signal::SIGINT);
    run.end().with_code(130);
    demo.approve("bob", &id);
    wait.end().ok().saying("granted");
    assert!(!demo.file("ran.txt").exists(), "to wait runs nothing");

    let args = ["run", "--reason", "testing the whole", "--json", "--"].into_iter().chain(command);
    let run = demo.by("alice", args).run().ok();
    assert!(run.stderr.contains(&id), "{}", run.stderr);
    assert_eq!(fs::read_to_string(demo.file("ran.txt")).unwrap(), "once\n");
    let mine = demo.by("alice", ["inbox", "--mine", "--json"]).run().ok().json();
    assert_eq!(mine.as_array().unwrap().len(), 1, "one request for all of it");
}

#[test]
fn a_server_that_is_killed_and_comes_back_is_waited_for() {
    let Some(mut demo) = Demo::start() else { return };
    let (run, id) = demo.waiting(["sh", "-c", "echo ran >> ran.txt; exit 9"]);
    let address = demo.address();
    demo.job.signal(Signal::SIGKILL);
    until("the end of the server", || (!demo.job.is_running()).then_some(()));
    let dir = demo.dir();
    let args = ["demo", "--json", "--listen", &address, "--dir", dir.to_str().unwrap()];
    demo.job = cs(args).start();
    demo.job.prints("\"url\"");
    demo.approve("bob", &id);
    run.end().with_code(9);
    assert_eq!(fs::read_to_string(demo.file("ran.txt")).unwrap(), "ran\n");
}

#[test]
fn a_rule_may_want_the_requesters_own_code_and_the_rest_of_the_input_is_the_commands() {
    let Some(demo) = Demo::start() else { return };
    demo.apply(CONFIRM);
    let args = ["run", "--reason", "my own", "--code-stdin", "--", "sh", "-c", "cat; echo ran >> ran.txt"];

    let wrong = wrong_code_of(&demo.secret("alice"));
    let refused = demo.by("alice", args).stdin(format!("{wrong}\nfor the command\n")).run().fails();
    assert_eq!(refused.text(), "");
    assert!(!demo.file("ran.txt").exists());

    let code = demo.code("alice");
    let run = demo.by("alice", args).stdin(format!("{code}\nfor the command\nand this\n")).run().ok();
    assert_eq!(run.text(), "for the command\nand this\n");
    assert_eq!(fs::read_to_string(demo.file("ran.txt")).unwrap(), "ran\n");

    // Without a terminal and without the option there is nobody to ask.
    let other = ["run", "--reason", "my own", "--", "touch", "ran.too"];
    demo.by("alice", other).run().fails().saying("--code-stdin");
    assert!(!demo.file("ran.too").exists());
}

#[test]
fn explain_says_what_is_needed_and_asks_nothing() {
    let Some(demo) = Demo::start() else { return };
    let told = demo.by("alice", ["run", "--explain", "--reason", "testing the whole", "--", "touch", "x"]).run().ok();
    assert!(told.text().contains("local:security: bob can"), "{}", told.text());
    let told = demo.by("alice", ["run", "--explain", "--json", "--reason", "testing the whole", "--", "touch", "x"]);
    let told = told.run().ok().json();
    assert_eq!(told["verdict"], "require");
    assert_eq!(told["slots"][0]["people"][0], "bob");
    demo.by("bob", ["run", "--explain", "--reason", "testing the whole", "--", "touch", "x"]).run().with_code(124);
    for name in ["alice", "bob"] {
        assert_eq!(demo.by(name, ["inbox", "--mine", "--json"]).run().ok().json(), serde_json::json!([]));
    }
    assert!(!demo.file("x").exists());
}

#[test]
fn arguments_that_are_no_text_arrive_as_they_are() {
    let Some(demo) = Demo::start() else { return };
    let odd = OsString::from_vec(b"\xff\xfe 'x'\xc3(".to_vec());
    let (run, id) = demo.waiting([OsStr::new("printf"), OsStr::new("%s"), odd.as_os_str()]);
    let approved = demo.approve("bob", &id);
    assert!(approved.stderr.contains(r"command  printf %s $'\xff\xfe \'x\'\xc3('"), "{}", approved.stderr);
    assert_eq!(run.end().ok().stdout, odd.into_vec());
}

#[test]
fn an_approver_sees_what_tries_to_hide() {
    let Some(demo) = Demo::start() else { return };
    demo.apply(ANY_REASON);
    let hidden = "safe\u{1b}[2K\r\u{202e}cod.exe\u{2066}\u{200b}\tx\u{7f}";
    let spelled = r"safe\x1b[2K\x0d\u{202e}cod.exe\u{2066}\u{200b}\x09x\x7f";
    let reason = format!("because\nrequest  x {hidden}");
    let job =
        demo.by("alice", ["ask", "command.run", hidden, "--param", &format!("{hidden}={hidden}"), "--reason", &reason]);
    let id = job.run().ok().text().trim().to_owned();
    let (run, other) = demo.waiting(["true", hidden, "--flag"]);

    let outputs = [
        demo.by("bob", ["inbox"]).run().ok(),
        demo.by("bob", ["show", &id]).run().ok(),
        demo.by("bob", ["show", &other]).run().ok(),
        demo.approve("bob", &id),
        demo.approve("bob", &other),
    ];
    run.end().ok();
    let receipt = demo.receipt(&other, "receipt.json");
    let verified = demo.by("alice", ["verify", receipt.to_str().unwrap()]).run().ok();
    for output in outputs.iter().chain([&verified]) {
        let text = output.all();
        assert!(text.contains(spelled), "{text}");
        let raw = text.chars().find(|c| (c.is_control() && *c != '\n') || "\u{202e}\u{2066}\u{200b}".contains(*c));
        assert_eq!(raw, None, "{text:?}");
        // What the reason says does not become a line of its own.
        assert!(!text.lines().any(|line| line.trim_start().starts_with("request  x")), "{text}");
    }
    assert!(outputs[4].stderr.contains(&format!("command  true $'{spelled}' --flag\n")), "{}", outputs[4].stderr);
}

#[test]
fn the_first_line_of_a_demo_is_for_scripts_and_each_address_in_it_answers() {
    let Some(demo) = Demo::start() else { return };
    let api = Api::new(&demo.address());
    assert_eq!(api.get("/healthz").text(), "ok\n");
    for door in demo.about["doors"].as_object().unwrap().values() {
        for url in door.as_object().unwrap().values() {
            let url = url.as_str().unwrap();
            let path = url.strip_prefix(&demo.url()).unwrap();
            let path = if path.ends_with("/v1") { format!("{path}/whoami") } else { path.to_owned() };
            let status = api.get(&path).status;
            assert!(matches!(status, 200 | 401), "{url}: {status}");
        }
    }
    let groups = |name: &str| demo.person(name)["groups"].clone();
    assert_eq!(groups("alice"), serde_json::json!([]));
    assert_eq!(groups("bob"), serde_json::json!(["local:security"]));
    // The demo's own authenticator agrees with oathtool's idea of time and secret: the code counts.
    let (run, id) = demo.waiting(["true"]);
    let code = cs(["demo", "code", "bob"]).env("COUNTERSIGN_DEMO", demo.dir()).run().ok().text();
    demo.by("bob", ["approve", &id, "--code-stdin"]).stdin(code).run().ok();
    run.end().ok();
}

#[test]
fn whoever_looks_long_for_a_code_still_gives_it() {
    let Some(demo) = Demo::start() else { return };
    let (run, id) = demo.waiting(["true"]);
    let mut approve = demo.by("bob", ["approve", &id, "--code-stdin"]).start();
    approve.says("digest ");
    // Longer than the server keeps a silent connection.
    std::thread::sleep(Duration::from_secs(13));
    approve.write(format!("{}\n", demo.code("bob")).as_bytes());
    approve.end().ok();
    run.end().ok();
}
