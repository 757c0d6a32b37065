//! Sinks over real processes and real disks. The database, read with the `sqlite3` program, says what the files must hold.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{
    Api, Job, PASSWORD, Reply, Server, administrator, code_of, has_tool, other_program, running, terminate, until,
};

/// Whoever asks for a command has it.
const POLICY: &str = "version = 1\n[[rule]]\nid = 'commands'\neffect = 'allow'\naction = 'command.run'\n";

/// A server with a folder for its sinks.
struct Place {
    server: Server,
}

impl Place {
    fn new(sinks: &[(&str, &str)]) -> Option<Self> {
        if !has_tool("sqlite3") {
            return None;
        }
        let place = Self { server: Server::init_in(tempfile::tempdir().unwrap(), Some(POLICY))? };
        fs::DirBuilder::new().mode(0o700).create(place.folder()).unwrap();
        for (name, mode) in sinks {
            place.configure(&place.file(name), name, mode);
        }
        Some(place)
    }

    fn configure(&self, path: &Path, name: &str, mode: &str) {
        let mut file = fs::OpenOptions::new().append(true).open(self.config()).unwrap();
        let path = path.display();
        write!(file, "\n[[sink]]\nkind = 'file'\nname = '{name}'\npath = '{path}'\nmode = '{mode}'\n").unwrap();
    }

    fn config(&self) -> PathBuf {
        self.server.dir().join("countersign.toml")
    }

    fn folder(&self) -> PathBuf {
        self.server.base.path().join("audit")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{name}.jsonl"))
    }

    fn start(&self) -> (Job, Api) {
        let (job, address) = self.server.start();
        (job, administrator(&address))
    }

    /// What the database holds. The server may run.
    fn committed(&self) -> BTreeSet<String> {
        let database = self.server.dir().join("countersign.db");
        let args =
            ["-bail", "-readonly", "-cmd", ".timeout 5000", database.to_str().unwrap(), "SELECT id FROM entries"];
        other_program("sqlite3", args).run().ok().text().lines().map(str::to_owned).collect()
    }

    /// Records of a sink, in this file and those that were rotated away.
    fn records(&self, name: &str) -> Vec<Value> {
        let mut files: Vec<_> = fs::read_dir(self.folder()).unwrap().map(|file| file.unwrap().path()).collect();
        files.retain(|file| file.file_name().unwrap().to_str().unwrap().starts_with(&format!("{name}.jsonl")));
        files.sort();
        files.iter().rev().flat_map(|file| lines(&fs::read_to_string(file).unwrap())).collect()
    }

    fn ids(&self, name: &str) -> BTreeSet<String> {
        self.records(name).iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    fn holds_everything(&self, name: &str) {
        let committed = self.committed();
        assert!(committed.len() > 3);
        until("every entry in the file", || self.ids(name).is_superset(&committed).then_some(()));
    }
}

/// Lines that are JSON; a torn one is none.
fn lines(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn ask(api: &Api, word: &str) -> String {
    let body = json!({
        "action": "command.run", "target": "db-1", "reason": "to fill a sink",
        "parameters": {"argv": ["true", word], "cwd": "/", "user": "root"},
    });
    let reply = api.post("requests", &body);
    assert_eq!(reply.status, 201, "{}", reply.text());
    assert_eq!(reply.json()["stage"], "granted");
    reply.json()["id"].as_str().unwrap().to_owned()
}

fn release(api: &Api, id: &str) -> Reply {
    api.call("POST", &format!("requests/{id}/release"), &[], b"")
}

/// Releases it as soon as the sink takes records; with what was let go.
#[track_caller]
fn released(api: &Api, id: &str) -> Value {
    until("a release", || {
        let reply = release(api, id);
        match reply.status {
            200 => Some(reply.json()),
            503 => None,
            other => panic!("{other}: {}", reply.text()),
        }
    })
}

fn refused(reply: &Reply) {
    assert_eq!((reply.status, &reply.json()["slug"]), (503, &json!("sink-refused")), "{}", reply.text());
    assert_eq!(reply.json()["sink"], "audit");
    assert!(reply.head.to_ascii_lowercase().contains("retry-after"), "{}", reply.head);
}

/// The releases among the records, by their id.
fn intents(records: &[Value]) -> BTreeSet<String> {
    let of_kind = records.iter().filter(|record| record["type"] == "release.intended");
    of_kind.map(|record| record["fields"]["release"].as_str().unwrap().to_owned()).collect()
}

/// A file system of a megabyte, as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        let args = ["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs"];
        let mounted = Command::new("mount").args(args).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _left = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_of_a_required_sink_stops_releases_and_nothing_else() {
    let Some(place) = Place::new(&[("audit", "required")]) else { return };
    let Some(disk) = SmallDisk::mount(&place.folder()) else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let (job, api) = place.start();
    let before = released(&api, &ask(&api, "before"));
    assert!(intents(&place.records("audit")).contains(before["release"].as_str().unwrap()));

    let fresh = api.post("session/fresh", &json!({"code": code_of(&place.server.secret)}));
    assert_eq!(fresh.status, 204, "{}", fresh.text());

    let filler = disk.0.join("filler");
    let mut rest = fs::File::create(&filler).unwrap();
    while rest.write_all(&[7; 4096]).is_ok() {}
    while rest.write_all(&[7]).is_ok() {}
    // What is left of the page that the file ends in.
    let mut id = ask(&api, "while it is full 0");
    let reply = until("a refusal", || {
        let reply = release(&api, &id);
        if reply.status != 503 {
            id = ask(&api, &format!("while it is full {}", reply.json()["release"]));
            return None;
        }
        Some(reply)
    });
    refused(&reply);
    let view = api.get(&format!("requests/{id}")).json();
    assert_eq!((&view["grant"]["state"], &view["grant"]["uses_left"]), (&json!("live"), &json!(1)));
    for release in view["releases"].as_array().unwrap() {
        assert_eq!(release["state"], "failed", "{view}");
    }
    // A token is let go as well; asking, saying no and logging in are not.
    let token = api.post("tokens", &json!({"name": "t", "scopes": ["*"], "ttl_secs": 60}));
    refused(&token);
    let other = administrator(&api.address);
    let withdrawn = ask(&other, "taken back");
    assert_eq!(api.post(&format!("requests/{withdrawn}/revoke"), &json!({})).status, 200);
    assert_eq!(api.get("/healthz").status, 200);

    drop(rest);
    fs::remove_file(&filler).unwrap();
    let after = released(&api, &id);
    let twice = release(&api, &id);
    assert_eq!((twice.status, &twice.json()["slug"]), (409, &json!("conflict")), "once, whatever failed before");
    place.holds_everything("audit");
    assert!(intents(&place.records("audit")).contains(after["release"].as_str().unwrap()));
    let text = fs::read_to_string(place.file("audit")).unwrap();
    let token = api.token.clone().unwrap();
    for secret in [PASSWORD, &token, &place.server.secret, after["grant"].as_str().unwrap()] {
        assert!(!text.contains(secret), "a secret is in the file");
    }
    terminate(job).ok().saying("a sink takes no records").saying("the sink takes records again");
    crate::support::cs(["ledger", "verify", "--dir", place.server.dir().to_str().unwrap()]).run().ok().saying("intact");
}

#[test]
fn a_disk_that_hangs_answers_in_time_and_the_service_recovers_by_itself() {
    let Some(place) = Place::new(&[("audit", "required")]) else { return };
    if !has_tool("strace") {
        return;
    }
    let path = place.file("audit");
    // The second group of records meets a disk that takes ten seconds for one sync.
    let slow = [
        "strace",
        // As a grandchild, so that the process that is waited for is the server.
        "-D",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-P",
        path.to_str().unwrap(),
        "-e",
        "trace=fdatasync",
        "-e",
        "inject=fdatasync:delay_enter=10000000:when=2",
    ];
    let (job, address) = running(place.server.serve(&slow));
    let api = administrator(&address);
    let mut number = 0;
    let (id, reply) = until("a refusal", || {
        number += 1;
        let id = ask(&api, &number.to_string());
        let reply = release(&api, &id);
        (reply.status != 200).then_some((id, reply))
    });
    refused(&reply);
    assert_eq!(api.get(&format!("requests/{id}")).json()["grant"]["uses_left"], 1);
    let released = released(&api, &id);
    place.holds_everything("audit");
    assert!(intents(&place.records("audit")).contains(released["release"].as_str().unwrap()));
    terminate(job);
}

#[test]
fn a_rotation_loses_nothing() {
    let Some(place) = Place::new(&[("audit", "required"), ("copy", "best_effort")]) else { return };
    let (job, api) = place.start();
    let mut let_go = BTreeSet::new();
    for number in 0..12 {
        if number % 4 == 3 {
            for name in ["audit", "copy"] {
                until("something to rotate", || place.file(name).exists().then_some(()));
                let old = place.folder().join(format!("{name}.jsonl.{number:02}"));
                fs::rename(place.file(name), old).unwrap();
            }
        }
        let released = released(&api, &ask(&api, &number.to_string()));
        let release = released["release"].as_str().unwrap().to_owned();
        assert!(intents(&place.records("audit")).contains(&release), "not there when it was acknowledged");
        let_go.insert(release);
    }
    terminate(job).ok();
    for name in ["audit", "copy"] {
        let (committed, found) = (place.committed(), place.ids(name));
        assert!(found.is_superset(&committed), "{name}: the stop brings what is left");
        assert_eq!(intents(&place.records(name)), let_go);
    }
    // The copy has each entry once, in the order of the log.
    let mut records = place.records("copy");
    records.sort_by_key(|record| record["leaf"].as_u64());
    let leaves: Vec<_> = records.iter().map(|record| record["leaf"].as_u64().unwrap()).collect();
    assert_eq!(leaves, (0..u64::try_from(leaves.len()).unwrap()).collect::<Vec<_>>());
    assert_eq!(fs::read_dir(place.folder()).unwrap().count(), 8);
}

#[test]
fn a_kill_loses_no_acknowledged_release_and_the_files_are_whole_after_the_next_start() {
    let Some(place) = Place::new(&[("audit", "required"), ("copy", "best_effort")]) else { return };
    let let_go = Mutex::new(BTreeSet::new());
    for round in 0..6_u64 {
        let (job, api) = place.start();
        let begun = let_go.lock().unwrap().len();
        std::thread::scope(|scope| {
            for client in 0..4 {
                let (api, let_go) = (api.clone(), &let_go);
                scope.spawn(move || {
                    for number in 0.. {
                        let body = json!({
                            "action": "command.run", "target": "db-1", "reason": "until somebody pulls the plug",
                            "parameters": {"argv": ["true", format!("{round} {client} {number}")], "cwd": "/", "user": "root"},
                        });
                        let asked = api.post("requests", &body);
                        if asked.status != 201 {
                            return;
                        }
                        let reply = release(&api, asked.json()["id"].as_str().unwrap());
                        if reply.status != 200 {
                            return;
                        }
                        let_go.lock().unwrap().insert(reply.json()["release"].as_str().unwrap().to_owned());
                    }
                });
            }
            until("some releases", || (let_go.lock().unwrap().len() > begun + 3).then_some(()));
            std::thread::sleep(Duration::from_millis(round * 37 % 200));
            job.signal(Signal::SIGKILL);
        });
        let _killed = job.end();
        // What a client holds is in the file of the required sink, although nobody had time to tidy up.
        let missing: Vec<_> = let_go.lock().unwrap().difference(&intents(&place.records("audit"))).cloned().collect();
        assert_eq!(missing, [""; 0], "round {round}");
    }
    let (job, _) = place.start();
    place.holds_everything("audit");
    place.holds_everything("copy");
    terminate(job).ok();
    let let_go = let_go.into_inner().unwrap();
    assert!(let_go.len() > 18, "{}", let_go.len());
    assert!(intents(&place.records("copy")).is_superset(&let_go));
}

#[test]
fn a_sink_that_can_not_be_opened_refuses_the_start_with_key_and_line() {
    let Some(place) = Place::new(&[]) else { return };
    let config = place.config();
    let text = fs::read_to_string(&config).unwrap();
    let line = text.lines().count() + 5;
    symlink("/dev/full", place.file("link")).unwrap();
    fs::write(place.file("other"), "this is no log of records").unwrap();
    Command::new("chmod").arg("600").arg(place.file("other")).status().unwrap();
    for (path, why) in [
        (place.folder().join("missing/audit.jsonl"), "missing"),
        (place.file("link"), "symbolic link"),
        (place.file("other"), "something else than records"),
        (PathBuf::from("/tmp/audit-of-countersign.jsonl"), "can be written by other users"),
    ] {
        fs::write(&config, &text).unwrap();
        place.configure(&path, "audit", "best_effort");
        let said = place.server.serve(&[]).run().with_code(1).saying(why);
        said.saying(&format!("{}:{line}: `sink.path`: ", config.display()));
        assert!(!Path::new("/tmp/audit-of-countersign.jsonl").exists());
    }
    fs::write(&config, &text).unwrap();
    place.configure(&place.file("audit"), "audit", "required");
    let (job, _) = place.start();
    terminate(job).ok();
    place.holds_everything("audit");
}
