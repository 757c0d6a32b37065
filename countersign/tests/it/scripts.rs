//! What scripts write, and what must never leave a secret behind.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Cs, Demo, Job, PASSWORD, Server, code_of, cs, secret_of, two_codes_of, until};

const POLICY: &str = r#"
version = 1

[[rule]]
id = "bob-runs"
effect = "require"
action = "command.run"
by = "person:bob"
confirm = true
quorum = [{ k = 1, of = "local:administrators", factors = ["totp"] }]
"#;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// A person with a folder and a server, as a script has it in its environment.
struct Someone {
    home: PathBuf,
    server: String,
}

impl Someone {
    fn cs<const N: usize>(&self, args: [&str; N]) -> Cs {
        cs(args).env("COUNTERSIGN_HOME", &self.home).env("COUNTERSIGN_SERVER", &self.server)
    }

    fn login(&self, name: &str, password: &str) {
        self.cs(["login", "--user", name, "--password-stdin"]).stdin(format!("{password}\n")).run().ok();
    }

    fn token(&self) -> String {
        let session: Value = serde_json::from_slice(&fs::read(self.home.join("session.json")).unwrap()).unwrap();
        session["token"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_day_in_scripts() {
    let Some(demo) = Demo::start() else { return };
    let someone = |name: &str| Someone { home: demo.file(name), server: demo.url() };
    let (alice, bob) = (someone("alice-home"), someone("bob-home"));
    alice.cs(["whoami"]).run().with_code(1).saying("countersign login");
    let wrong = alice.cs(["login", "--user", "alice", "--password-stdin"]).stdin("wrong\n").run().with_code(1);
    let nobody = alice.cs(["login", "--user", "nobody", "--password-stdin"]).stdin("wrong\n").run().with_code(1);
    assert_eq!(wrong.stderr, nobody.stderr, "who exists is not told");
    assert!(!alice.home.join("session.json").exists());

    alice.login("alice", &demo.password("alice"));
    bob.login("bob", &demo.password("bob"));
    assert_eq!((mode(&alice.home), mode(&alice.home.join("session.json"))), (0o700, 0o600));
    for entry in fs::read_dir(&alice.home).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    let who = bob.cs(["whoami", "--json"]).run().ok().json();
    assert_eq!((&who["person"], &who["account"]), (&json!("bob"), &json!("local:bob")));
    assert_eq!((&who["groups"], &who["enrolled"]), (&json!(["local:security"]), &json!(["totp"])));

    assert_eq!(bob.cs(["inbox", "--json"]).run().ok().json(), json!([]));
    let asked = ["ask", "command.run", "db-1", "--reason", "from a script", "--idempotency-key", "k1", "--json"];
    let id = alice.cs(asked).run().ok().json()["id"].as_str().unwrap().to_owned();
    assert_eq!(alice.cs(asked).run().ok().json()["id"], id.as_str(), "the same key, the same request");
    let other = ["ask", "command.run", "db-2", "--reason", "from a script", "--idempotency-key", "k1", "--json"];
    alice.cs(other).run().with_code(1);
    let plain = alice.cs(["ask", "command.run", "db-3", "--reason", "from a script"]).run().ok().text();
    assert_eq!(plain.lines().count(), 1, "the id alone: {plain}");

    let inbox = bob.cs(["inbox", "--json"]).run().ok().json();
    let ids: Vec<_> = inbox.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert!(ids.len() == 2 && ids.contains(&id.as_str()) && ids.contains(&plain.trim()), "{ids:?}");
    assert_eq!(bob.cs(["inbox", "--json", "--limit", "1"]).run().ok().json().as_array().unwrap().len(), 1);

    let approve = bob.cs(["approve", &id, "--code-stdin", "--json"]).stdin(format!("{}\r\n", demo.code("bob")));
    assert_eq!(approve.run().ok().json()["stage"], "granted");
    alice.cs(["wait", &id]).run().ok();
    let receipt = demo.file("r.json");
    let receipt = receipt.to_str().unwrap();
    let kept = alice.cs(["show", &id, "--receipt", receipt, "--json"]).run().ok().json();
    assert_eq!((&kept["pinned"], &kept["request"]), (&json!(true), &json!(id)));
    let verified = alice.cs(["verify", receipt, "--json"]).run().ok().json();
    assert_eq!((&verified["request"], &verified["pinned"]), (&json!(id), &json!(true)));
    assert_eq!(verified["approvals"][0]["person"], "bob");
    assert_eq!(verified["operation"]["target"], "db-1");
    alice.cs(["ledger", "verify"]).run().ok().saying("intact");

    let token = alice.token();
    alice.cs(["logout"]).run().ok();
    assert!(!alice.home.join("session.json").exists() && alice.home.join("log-keys.json").exists());
    alice.cs(["whoami"]).run().with_code(1);
    let stolen = demo.api("bob").with_token(&token);
    assert_eq!(stolen.get("whoami").status, 401, "the session has ended at the server, too");
    alice.cs(["logout"]).run().ok();

    // A session that others could read is not used.
    fs::set_permissions(bob.home.join("session.json"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    bob.cs(["whoami"]).run().with_code(1).saying("chmod 600");
}

/// What everybody on the machine can read of a process.
fn seen_by_all(job: &Job) -> String {
    let read = |name: &str| {
        // For a moment after its start there is nothing to see.
        until(name, || fs::read(format!("/proc/{}/{name}", job.pid())).ok().filter(|seen| !seen.is_empty()))
    };
    String::from_utf8_lossy(&[read("cmdline"), read("environ")].concat()).into_owned()
}

#[test]
fn no_secret_is_in_the_arguments_or_in_the_servers_log() {
    let Some(server) = Server::init_in(tempfile::tempdir().unwrap(), Some(POLICY)) else { return };
    let file = server.dir().join("countersign.toml");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{config}\n[log]\nlevel = \"trace\"\n[security]\ncooling = \"1s\"\n")).unwrap();
    let (job, address) = server.start();
    let someone = |name: &str| Someone { home: server.base.path().join(name), server: format!("http://{address}") };
    let (root, bob) = (someone("root"), someone("bob"));
    let mut secrets = vec![PASSWORD.to_owned(), server.secret.clone()];
    let mut keep = |secret: String| {
        secrets.push(secret.clone());
        secret
    };
    let mut login = root.cs(["login", "--user", "root", "--password-stdin"]).start();
    login.write(&PASSWORD.as_bytes()[..5]);
    let seen = seen_by_all(&login);
    assert!(seen.contains("password-stdin") && !seen.contains(&PASSWORD[..5]), "{seen}");
    login.write(format!("{}\n", &PASSWORD[5..]).as_bytes());
    login.end().ok();
    keep(root.token());

    let password = keep("bobs-own-very-long-password".to_owned());
    let code = keep(code_of(&server.secret));
    let add = ["user", "add", "bob", "--password-stdin", "--code-stdin"];
    root.cs(add).stdin(format!("{password}\n{code}\n")).run().ok();
    bob.cs(["login", "--user", "bob", "--password-stdin"]).stdin("a-wrong-password-of-bob\n").run().with_code(1);
    keep("a-wrong-password-of-bob".to_owned());
    bob.login("bob", &password);
    keep(bob.token());
    let mut enroll = bob.cs(["enroll", "--code-stdin"]).start();
    let secret = keep(secret_of(&enroll.prints("otpauth://")));
    let [first, second] = two_codes_of(&secret).map(&mut keep);
    enroll.write(format!("{first}\n{second}\n").as_bytes());
    enroll.end().ok();

    let run = ["run", "--code-stdin", "--", "sh", "-c", "read line; echo \"$line\""];
    let mut run = bob.cs(run).start();
    let code = keep(code_of(&secret));
    run.write(format!("{code}\nrest\n").as_bytes());
    run.says("local:administrators");
    let seen = seen_by_all(&run);
    let inbox = root.cs(["inbox", "--json"]).run().ok().json();
    let id = inbox[0]["id"].as_str().unwrap().to_owned();
    let code = keep(code_of(&server.secret));
    root.cs(["approve", &id, "--code-stdin"]).stdin(format!("{code}\n")).run().ok();
    assert_eq!(run.end().ok().text(), "rest\n");
    let made = ["token", "create", "ci", "--scope", "command.*", "--json", "--code-stdin"];
    let code = keep(code_of(&server.secret));
    let token = root.cs(made).stdin(format!("{code}\n")).run().ok().json()["token"].as_str().unwrap().to_owned();
    bob.cs(["logout"]).run().ok();
    let _used = crate::support::Api::new(&address).with_token(&token).get("whoami");
    keep(token);

    job.signal(Signal::SIGTERM);
    let log = job.end().ok().stderr;
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().any(|event| event["level"] == "DEBUG") && events.len() > 30, "{log}");
    // A clock's digits can look like a code by chance.
    let told: String = events.into_iter().map(|event| without_clocks(event) + "\n").collect();
    assert!(told.contains("local:bob"), "{told}");
    for secret in &secrets {
        assert!(!contains_word(&told, secret), "{secret} is in the log:\n{told}");
        assert!(!contains_word(&seen, secret), "{secret} is in the arguments");
    }
    for file in ["countersign.db", "countersign.db-wal"] {
        let bytes = fs::read(server.dir().join(file)).unwrap_or_default();
        for secret in secrets.iter().filter(|secret| secret.len() > 6) {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {file}");
        }
    }
}

fn without_clocks(mut event: Value) -> String {
    for field in ["timestamp", "micros"] {
        event.as_object_mut().unwrap().remove(field);
    }
    event.to_string()
}

/// A code of six digits is no part of a longer number or id.
fn contains_word(text: &str, word: &str) -> bool {
    let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        !letter(before) && !letter(after)
    })
}
