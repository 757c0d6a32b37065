//! A server that cannot start says what to do, and nothing is lost.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{
    Api, Cs, Demo, PASSWORD, Reply, Server, administrator, cs, has_tool, other_program, running, terminate, until,
};

fn demo_in(dir: &Path, listen: &str) -> Cs {
    cs(["demo", "--json", "--listen", listen, "--dir"].map(OsStr::new).into_iter().chain([dir.as_os_str()]))
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn a_port_in_use() {
    let Some(server) = Server::init() else { return };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = server.base.path().join("demo");
    demo_in(&dir, &address).run().with_code(1).saying(&address).saying("choose another address");
    assert!(!dir.exists(), "nothing was made");
    let data = server.dir();
    let serve = ["serve", "--listen", &address, "--dir", data.to_str().unwrap()];
    cs(serve).run().with_code(1).saying(&address).saying("choose another address");
}

#[test]
fn a_folder_that_cannot_be_written() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("theirs");
    fs::create_dir(&folder).unwrap();
    chmod(base.path(), 0o755);
    chmod(&folder, 0o555);
    // The program itself may lie where only root can go.
    let program = base.path().join("countersign");
    fs::copy(env!("CARGO_BIN_EXE_countersign"), &program).unwrap();
    chmod(&program, 0o755);
    let program = program.to_str().unwrap();
    let as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program];
    let wrapper = if is_root() { if has_tool("setpriv") { &as_nobody[..] } else { return } } else { &as_nobody[4..] };
    let run = |args: &[&str]| other_program(wrapper[0], wrapper[1..].iter().chain(args));
    let dir = folder.join("new");
    let dir = dir.to_str().unwrap();
    let hint = "give this user the right to write there";
    run(&["demo", "--listen", "127.0.0.1:0", "--dir", dir]).run().with_code(1).saying(dir).saying(hint);
    let init = run(&["init", "--admin", "root", "--password-stdin", "--dir", dir]);
    init.stdin("a long enough password\n").run().with_code(1).saying(dir).saying(hint);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    chmod(&folder, 0o755);
}

#[test]
fn a_wrong_master_key() {
    let (Some(server), Some(other)) = (Server::init(), Server::init()) else { return };
    let key = server.dir().join("master.key");
    let right = fs::read(&key).unwrap();
    let refused = |part: &str| {
        let out = server.serve(&[]).run().with_code(1).saying(part);
        for line in String::from_utf8_lossy(&right).split_whitespace() {
            assert!(!out.all().contains(line), "the key itself is never told");
        }
    };
    fs::copy(other.dir().join("master.key"), &key).unwrap();
    refused("the master key does not fit this database");
    fs::write(&key, b"half a key\n").unwrap();
    refused("master.key: the master key has an unknown format");
    fs::remove_file(&key).unwrap();
    refused("master.key");
    assert!(!key.exists(), "a new key in its place would open nothing, and hide that the old one is missing");
    fs::write(&key, &right).unwrap();
    chmod(&key, 0o644);
    refused("chmod");
    chmod(&key, 0o600);
    let (job, address) = server.start();
    assert_eq!(administrator(&address).get("whoami").status, 200);
    terminate(job).ok();
}

#[test]
fn a_newer_or_foreign_schema() {
    let Some(server) = Server::init() else { return };
    if !has_tool("sqlite3") {
        return;
    }
    let database = server.dir().join("countersign.db");
    let sql = |text: &str| {
        let output = Command::new("sqlite3").arg(&database).arg(text).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let dump = || sql(".dump");
    sql(
        "INSERT INTO refinery_schema_history SELECT 9999, 'from_the_future', applied_on, checksum FROM refinery_schema_history LIMIT 1",
    );
    let before = dump();
    server.serve(&[]).run().with_code(1).saying("9999").saying("newer");
    assert_eq!(dump(), before, "nothing was changed");
    sql("DELETE FROM refinery_schema_history WHERE version = 9999");
    let (job, _) = server.start();
    terminate(job).ok();

    let good = fs::read(&database).unwrap();
    fs::write(&database, "this is no database, but it is long enough to look like one".repeat(100)).unwrap();
    server.serve(&[]).run().with_code(1).saying("is not a database");
    fs::write(&database, good).unwrap();
    fs::remove_file(&database).unwrap();
    server.serve(&[]).run().with_code(1).saying("there is no database").saying("countersign init");
    assert!(!database.exists());
}

#[test]
fn one_process_at_a_time() {
    let Some(server) = Server::init() else { return };
    let (job, address) = server.start();
    let api = administrator(&address);
    server.serve(&[]).run().with_code(1).saying("in use");
    let dir = server.dir();
    let again = ["init", "--admin", "eve", "--password-stdin", "--dir", dir.to_str().unwrap()];
    cs(again).stdin("another long password\n").run().with_code(1);
    assert_eq!(api.get("whoami").status, 200, "the first is not disturbed");
    terminate(job).ok();
    let refused = cs(again).stdin("another long password\n").run().with_code(1);
    refused.saying("is set up already");

    let Some(demo) = Demo::start() else { return };
    demo_in(&demo.dir(), "127.0.0.1:0").run().with_code(1).saying("in use");
    let told: Value = serde_json::from_slice(&fs::read(demo.dir().join("demo.json")).unwrap()).unwrap();
    assert_eq!(told["url"], demo.url(), "its address is still the one that answers");
    demo.by("alice", ["whoami"]).run().ok();
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_its_line() {
    let Some(server) = Server::init() else { return };
    let file = server.dir().join("countersign.toml");
    let good = fs::read_to_string(&file).unwrap();
    let lines = good.lines().count();
    let shown = file.to_str().unwrap().to_owned();
    for (more, line, part) in [
        ("[security]\ncoolling = \"1h\"", 2, "coolling"),
        ("[listner]\nplain_http = \"behind_a_tls_proxy\"", 1, "listner"),
        ("[security]\ncooling = \"0s\"", 2, "cooling"),
        ("[security]\nsession_ttl = \"13h\"", 2, "12h"),
        ("[log]\nlevel = \"loud\"", 2, "loud"),
        ("[master_key]\nfile = \"a\"\nenv = \"B\"", 1, "master_key"),
        ("[log", 1, ""),
    ] {
        fs::write(&file, format!("{good}\n{more}\n")).unwrap();
        let place = format!("countersign.toml:{}:", lines + 1 + line);
        server.serve(&[]).run().with_code(1).saying(&place).saying(part);
        cs(["config", "check", &shown]).run().with_code(1).saying(&place).saying(part);
    }
    // Other machines would see passwords and codes.
    fs::write(&file, &good).unwrap();
    cs(["config", "check", &shown]).run().ok();
    let data = server.dir();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
        let serve = ["serve", "--dir", data.to_str().unwrap(), "--listen", address];
        cs(serve).run().with_code(1).saying("in clear").saying("proxy");
        let listen = good.replace("listen = \"127.0.0.1:8220\"", &format!("listen = \"{address}\""));
        assert_ne!(listen, good);
        fs::write(&file, listen).unwrap();
        cs(["serve", "--dir", data.to_str().unwrap()])
            .run()
            .with_code(1)
            .saying("countersign.toml:")
            .saying("in clear");
        fs::write(&file, &good).unwrap();
    }
    demo_in(&server.base.path().join("demo"), "0.0.0.0:0").run().with_code(1).saying("this machine only");
    // Somebody else could put another key or database in place.
    chmod(&data, 0o777);
    server.serve(&[]).run().with_code(1).saying("chmod 700");
    chmod(&data, 0o700);
    let (job, _) = server.start();
    terminate(job).ok();
}

#[test]
fn a_demo_is_not_served_and_a_server_is_no_demo() {
    let (Some(mut demo), Some(server)) = (Demo::start(), Server::init()) else { return };
    demo.stop();
    let dir = demo.dir();
    for args in [&["serve", "--dir"][..], &["init", "--admin", "root", "--password-stdin", "--dir"]] {
        let refused = cs(args.iter().chain(&[dir.to_str().unwrap()])).stdin("a long enough password\n").run();
        refused.with_code(1).saying("folder of a demo");
    }
    // A configuration elsewhere does not help.
    let file = server.dir().join("countersign.toml");
    let good = fs::read_to_string(&file).unwrap();
    for wrong in [
        good.replace("data = \".\"", &format!("data = \"{}\"", dir.display())),
        format!("{good}\n[store]\nsqlite = \"{}\"\n", dir.join("countersign.db").display()),
    ] {
        assert_ne!(wrong, good);
        fs::write(&file, wrong).unwrap();
        cs(["serve", "--config", file.to_str().unwrap(), "--listen", "127.0.0.1:0"])
            .run()
            .with_code(1)
            .saying("folder of a demo");
    }
    demo_in(&server.dir(), "127.0.0.1:0").run().with_code(1).saying("real server");
    demo.start_again();
}

#[test]
fn a_second_start_reuses_people_sessions_and_what_was_asked() {
    let Some(mut demo) = Demo::start() else { return };
    let granted = demo.granted(["true"]);
    let (run, id) = demo.waiting(["true", "left pending"]);
    drop(run);
    let people = demo.about["people"].clone();
    let key = demo.log_key();
    let url = demo.url();
    demo.stop();
    demo.start_again();
    assert_eq!(demo.about["people"], people);
    assert_eq!(demo.log_key(), key);
    assert_ne!(demo.url(), url, "a port of its own");
    assert_eq!(demo.view("alice", &granted.id)["grant"]["state"], "spent");
    assert_eq!(demo.view("bob", &id)["stage"], "challenged");
    demo.approve("bob", &id);
    demo.by("alice", ["wait", &id]).run().ok();
}

#[test]
fn sigterm_ends_calls_that_wait_and_the_process_well() {
    let Some(server) = Server::init() else { return };
    let policy = server.dir().join("policy.toml");
    assert!(policy.exists());
    let (job, address) = server.start();
    let api = administrator(&address);
    let asked = api.post("admin", &json!({"change": {"kind": "group_add", "group": "local:dba"}}));
    assert_eq!(asked.status, 201, "{asked:?} {}", asked.text());
    let (id, version) = (asked.json()["id"].as_str().unwrap().to_owned(), asked.json()["version"].clone());
    let waiting = {
        let (api, id) = (api.clone(), id.clone());
        std::thread::spawn(move || api.get(&format!("requests/{id}/wait?version={version}&timeout_secs=50")))
    };
    std::thread::sleep(Duration::from_millis(500));
    assert!(!waiting.is_finished());
    let begun = Instant::now();
    let log = terminate(job).ok().stderr;
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    assert!(log.contains("\"stopping\"") && log.trim_end().lines().last().unwrap().contains("\"stopped\""), "{log}");
    let reply = waiting.join().unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["id"], id.as_str());
    // What was acknowledged is there after the next start, and so is the session.
    let (job, address) = server.start();
    let api = Api { address, ..api };
    assert_eq!(api.get(&format!("requests/{id}")).json()["stage"], "challenged");
    job.signal(Signal::SIGINT);
    job.end().ok();
}

/// A file system of a few megabytes, as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let args = ["-t", "tmpfs", "-o", "size=6m,mode=0700", "tmpfs"];
        let mounted = Command::new("mount").args(args).arg(at).output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that is about to be killed may still be in it.
        let _left = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_loses_nothing_and_the_service_goes_on() {
    if !has_tool("oathtool") {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let at = base.path().join("disk");
    let Some(disk) = SmallDisk::mount(&at) else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let dir = disk.0.join("data");
    let made = cs(["init", "--json", "--admin", "root", "--password-stdin", "--dir", dir.to_str().unwrap()]);
    made.stdin(format!("{PASSWORD}\n")).run().ok();
    let serve = || running(cs(["serve", "--listen", "127.0.0.1:0", "--dir", dir.to_str().unwrap()]));
    let (job, address) = serve();
    let api = administrator(&address);
    // Groups are asked for, and never confirmed: each is a request, acknowledged or refused.
    let ask = |number: usize| {
        let reason = format!("{number} {}", "x".repeat(900));
        let change = json!({"kind": "group_add", "group": format!("local:g{number}")});
        api.post("admin", &json!({"change": change, "reason": reason}))
    };
    let mut kept = Vec::new();
    let mut count = 0;
    let mut keep = |reply: Reply| {
        let fine = reply.status == 201;
        if fine {
            kept.push(reply.json()["id"].as_str().unwrap().to_owned());
        }
        (fine, reply)
    };
    let (fine, first) = keep(ask(count));
    assert!(fine, "{first:?} {}", first.text());

    let filler = disk.0.join("filler");
    let mut rest = fs::File::create(&filler).unwrap();
    while rest.write_all(&[7; 4096]).is_ok() {}
    let full = loop {
        count += 1;
        assert!(count < 3_000, "the disk never fills");
        let (fine, reply) = keep(ask(count));
        if !fine {
            break reply;
        }
    };
    assert_eq!((full.status, &full.json()["slug"]), (507, &json!("disk-full")), "{}", full.text());
    assert!(full.json()["detail"].as_str().unwrap().contains("free some space"), "{}", full.text());
    // Reading goes on, and so does refusing.
    for id in [&kept[0], kept.last().unwrap()] {
        assert_eq!(api.get(&format!("requests/{id}")).status, 200);
    }
    assert_eq!(api.get("/healthz").status, 200);
    assert_eq!(ask(count + 1).status, 507);

    fs::remove_file(&filler).unwrap();
    drop(rest);
    let after =
        until("a request after there was room again", || Some(ask(count + 2)).filter(|reply| reply.status == 201));
    kept.push(after.json()["id"].as_str().unwrap().to_owned());
    for id in &kept {
        assert_eq!(api.get(&format!("requests/{id}")).status, 200, "{id} was acknowledged, and is lost");
    }
    terminate(job).ok();
    cs(["ledger", "verify", "--dir", dir.to_str().unwrap()]).run().ok().saying("intact");

    // A start on a full disk says so, and the next one finds everything.
    let mut rest = fs::File::create(&filler).unwrap();
    while rest.write_all(&[7; 4096]).is_ok() {}
    let mut start = cs(["serve", "--listen", "127.0.0.1:0", "--dir", dir.to_str().unwrap()]).start();
    let ended = until("the end of a start, or a server", || {
        if start.is_running() { start.stderr().contains("\"serving\"").then_some(false) } else { Some(true) }
    });
    if ended {
        start.end().with_code(1).saying("full");
    } else {
        terminate(start).ok();
    }
    drop(rest);
    fs::remove_file(&filler).unwrap();
    let (job, address) = serve();
    let api = Api { address, ..api };
    for id in &kept {
        assert_eq!(api.get(&format!("requests/{id}")).status, 200, "{id} was acknowledged, and is lost");
    }
    terminate(job).ok();
}

/// Where SQLite reports an error of the disk, what is on it is anybody's guess: the server ends at once, and its next start tells.
#[test]
fn a_disk_that_fails_ends_the_server_and_what_was_acknowledged_is_there() {
    let Some(server) = Server::init() else { return };
    // A file may not grow beyond 1 MiB; the signal that says so is ignored, so that the write itself fails.
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 2048; exec \"$@\"", "sh"];
    let (mut job, address) = running(server.serve(&limited));
    let api = administrator(&address);
    let mut kept = Vec::new();
    for number in 0.. {
        assert!(number < 3_000, "the limit is never reached");
        let change = json!({"kind": "group_add", "group": format!("local:g{number}")});
        let reply = api.post("admin", &json!({"change": change, "reason": "x".repeat(900)}));
        match reply.status {
            201 => kept.push(reply.json()["id"].as_str().unwrap().to_owned()),
            // Cut off, or told that nobody knows.
            0 | 503 => break,
            other => panic!("{other}: {}", reply.text()),
        }
    }
    assert!(!kept.is_empty());
    until("the end of the server", || (!job.is_running()).then_some(()));
    job.end().with_code(70).saying("the database failed");
    let (job, address) = server.start();
    let api = Api { address, ..api };
    for id in &kept {
        assert_eq!(api.get(&format!("requests/{id}")).status, 200, "{id} was acknowledged, and is lost");
    }
    terminate(job).ok();
    let dir = server.dir();
    cs(["ledger", "verify", "--dir", dir.to_str().unwrap()]).run().ok().saying("intact");
}
