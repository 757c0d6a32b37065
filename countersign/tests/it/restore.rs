//! Yesterday's backup becomes the database again, under clients that know better.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use countersign_core::names::GroupName;
use countersign_core::time::Micros;
use countersign_engine::{Bootstrap, NewPerson};
use countersign_keys::SystemRandom;
use countersign_keys::master::MasterKey;
use countersign_keys::password::Passwords;
use countersign_keys::totp::TotpSecret;
use countersign_store::{PostgresConfig, Store, StoreConfig};
use countersign_testing_postgres::Cluster;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Api, Cs, Job, Out, PASSWORD, Reply, code_of, cs, has_tool, running, terminate, until};

const POLICY: &str = r#"
version = 1

[[rule]]
id = "commands"
effect = "require"
action = "command.run"
quorum = [{ k = 1, of = "local:security" }]
grant = { ttl = "5m", uses = 1 }
deadline = "30m"
"#;
const PEOPLE: &[(&str, &[&str])] = &[("admin", &["administrators"]), ("alice", &[]), ("bob", &["security"])];

#[test]
fn sqlite_the_file_put_back_by_hand_is_found_out_by_a_client() {
    let Some(site) = Site::new(None) else { return };
    let (server, address) = site.start();
    let today = Today::new(&site, &address);
    drop(terminate(server));

    // As somebody does who knows of no command for it.
    for end in ["-wal", "-shm"] {
        let _there_or_not = fs::remove_file(site.dir().join(format!("countersign.db{end}")));
    }
    fs::copy(&today.backup, site.dir().join("countersign.db")).unwrap();
    let (server, address) = site.start_at(&address);
    let token = Api::new(&address).with_token(&today.token);
    assert_eq!(token.get("whoami").status, 200, "nobody has told the server yet");
    // A stranger's word changes nothing, however large the log that he tells of.
    for forged in Today::forged() {
        let reply = token.call("GET", "whoami", &[("Countersign-Checkpoint", &forged)], b"");
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    // The client's word is looked at before its call is.
    let refused = site.cli("bob", &address, ["whoami"]).run().fails();
    assert!(refused.stderr.contains("countersign restore accept"), "{}", refused.stderr);
    today.is_refused(&address);
    drop(terminate(server));
    // Also after a start, and for the walk.
    let (server, address) = site.start_at(&address);
    today.is_refused(&address);
    drop(terminate(server));
    let walk = cs(["ledger", "verify", "--dir", site.dir().to_str().unwrap()]).run().ok();
    assert!(walk.text().contains("marked as restored"), "{}", walk.text());

    let accepted = Today::accept(&site);
    assert!(accepted["known"].as_u64() > accepted["held"].as_u64(), "{accepted}");
    let (server, address) = site.start_at(&address);
    today.is_over_and_all_works(&site, &address, &accepted);
    drop(terminate(server));
    site.both_epochs_verify();
}

#[test]
fn postgres_a_replica_that_ran_while_the_tables_were_replaced_stops() {
    let cluster = Cluster::shared();
    let Some(site) = Site::new(Some(cluster)) else { return };
    let ((_one, address), (_two, other)) = (site.start(), site.start());
    let today = Today::new(&site, &address);
    let database = site.database.clone().unwrap();
    cluster.psql(&database, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    let restored = site.server(["restore", today.backup.to_str().unwrap()]).run().ok();
    assert!(restored.text().contains("restore accept"), "{}", restored.text());
    for address in [&address, &other] {
        until("the replica stops", || (Api::new(address).get("/healthz").text() == "restored\n").then_some(()));
        today.is_refused(address);
    }
    let again = site.server(["restore", today.backup.to_str().unwrap()]).run().fails();
    assert!(again.stderr.contains("empty database"), "{}", again.stderr);

    let accepted = Today::accept(&site);
    for address in [&address, &other] {
        until("the replica takes up the new epoch", || (Api::new(address).get("/healthz").status == 200).then_some(()));
    }
    today.is_over_and_all_works(&site, &address, &accepted);
    assert_eq!(session(&other, "bob").get("whoami").status, 200);
    site.both_epochs_verify();
}

#[test]
fn a_backup_is_whole_under_load_and_overwrites_nothing() {
    let Some(site) = Site::new(None) else { return };
    let (server, address) = site.start();
    let alice = session(&address, "alice");
    let file = site.base.path().join("backup");
    let sizes = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            for n in 0..150 {
                ask(&alice, &format!("word{n}"));
            }
        });
        let mut sizes = Vec::new();
        while !load.is_finished() {
            let made = site.server(["backup", "--json", file.to_str().unwrap()]).run().ok().json();
            sizes.push(made["entries"].as_u64().unwrap());
            // What it holds is walked before it is called a backup; here once more, as a database.
            let dir = site.base.path().join(format!("copy{}", sizes.len()));
            DirBuilder::new().mode(0o700).create(&dir).unwrap();
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
            fs::rename(&file, dir.join("countersign.db")).unwrap();
            let walk = cs(["ledger", "verify", "--dir", dir.to_str().unwrap()]).run().ok();
            assert!(walk.text().contains("is intact"), "{}", walk.text());
        }
        load.join().unwrap();
        sizes
    });
    assert!(sizes.len() > 1 && sizes.is_sorted(), "{sizes:?}");

    fs::write(&file, "mine").unwrap();
    let refused = site.server(["backup", file.to_str().unwrap()]).run().fails();
    assert!(refused.stderr.contains("exists already"), "{}", refused.stderr);
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    let nowhere = site.server(["backup", "/no/such/folder/file"]).run().fails();
    assert!(nowhere.stderr.contains("folder does not exist"), "{}", nowhere.stderr);
    drop(terminate(server));
    let left = fs::read_dir(site.base.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("partial"));
    assert_eq!(left.count(), 0, "nothing is left beside it");
    // Also while no server runs.
    fs::remove_file(&file).unwrap();
    site.server(["backup", file.to_str().unwrap()]).run().ok();
}

#[test]
fn what_is_no_whole_backup_is_not_restored() {
    let Some(site) = Site::new(None) else { return };
    let (server, address) = site.start();
    let alice = session(&address, "alice");
    (0..40).for_each(|n| drop(ask(&alice, &format!("word{n}"))));
    let file = site.base.path().join("backup");
    until("it is sequenced", || {
        let made = site.server(["backup", "--json", file.to_str().unwrap()]).run().ok().json();
        let enough = made["entries"].as_u64().unwrap() >= 41;
        (enough || fs::remove_file(&file).is_err()).then_some(())
    });
    drop(terminate(server));
    let whole = fs::read(&file).unwrap();

    let occupied = site.server(["restore", file.to_str().unwrap()]).run().fails();
    assert!(occupied.stderr.contains("exists already"), "{}", occupied.stderr);
    let database = site.dir().join("countersign.db");
    fs::rename(&database, site.base.path().join("away")).unwrap();
    let bad = site.base.path().join("bad");
    let mut edited = whole.clone();
    let at = whole.windows(14).rposition(|window| window == b"\"request.asked").unwrap();
    edited[at + 10] ^= 1;
    for (content, what) in
        [(&whole[..whole.len() / 2], "half of it"), (&edited[..], "a row that somebody edited"), (b"", "nothing")]
    {
        fs::write(&bad, content).unwrap();
        let refused = site.server(["restore", bad.to_str().unwrap()]).run().fails();
        assert!(!database.exists(), "{what}: {}", refused.stderr);
    }
    // Another master key is told before anything is written.
    let key = site.dir().join("master.key");
    let own = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    MasterKey::generate(&SystemRandom).unwrap().create_file(&key).unwrap();
    let refused = site.server(["restore", file.to_str().unwrap()]).run().fails();
    assert!(refused.stderr.contains("master key does not fit"), "{}", refused.stderr);
    assert!(!database.exists());
    fs::write(&key, own).unwrap();
    let left = fs::read_dir(site.dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!left.into_iter().any(|name| name.contains("partial")));

    site.server(["restore", file.to_str().unwrap()]).run().ok();
    assert_eq!(fs::read(&file).unwrap(), whole, "the backup itself stays as it is");
    assert_eq!(fs::metadata(&database).unwrap().permissions().mode() & 0o777, 0o600);
    let (server, address) = site.start();
    assert_eq!(Api::new(&address).get("/healthz").text(), "restored\n");
    let running = site.server(["restore", "accept"]).run().fails();
    assert!(running.stderr.contains("in use"), "{}", running.stderr);
    drop(terminate(server));
}

#[test]
fn a_backup_that_is_killed_in_the_middle_leaves_no_file_of_that_name() {
    let Some(site) = Site::new(None) else { return };
    // The kernel ends whoever writes past the limit, at that very write.
    let file = site.base.path().join("backup");
    let dir = site.dir();
    let words = ["backup", file.to_str().unwrap(), "--dir", dir.to_str().unwrap()];
    let refused = Cs::through(&["prlimit", "--fsize=65536"], words).run();
    assert_ne!(refused.code(), 0, "{}", refused.all());
    assert!(!file.exists());
}

/// A server's folder, the database that it names, and everybody's secrets.
struct Site {
    base: TempDir,
    database: Option<String>,
    secrets: BTreeMap<&'static str, String>,
}

impl Site {
    fn new(cluster: Option<&Cluster>) -> Option<Self> {
        if !has_tool("oathtool") {
            return None;
        }
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("data");
        DirBuilder::new().mode(0o700).create(&dir).unwrap();
        let url = cluster.map(Cluster::database);
        let section = url.as_ref().map(|url| format!("[database]\nurl = '{url}'\n")).unwrap_or_default();
        fs::write(dir.join("countersign.toml"), format!("name = 'log.example.com'\n{section}")).unwrap();
        fs::write(dir.join("policy.toml"), POLICY).unwrap();
        let master = MasterKey::generate(&SystemRandom).unwrap();
        master.create_file(&dir.join("master.key")).unwrap();
        let password_hash = Passwords::default().hash(&SystemRandom, &PASSWORD.into()).unwrap();
        let mut secrets = BTreeMap::new();
        let people = PEOPLE.iter().map(|(name, groups)| {
            let totp = TotpSecret::generate(&SystemRandom).unwrap();
            secrets.insert(*name, totp.to_base32().expose_secret().to_owned());
            let groups = groups.iter().map(|group| GroupName::new("local", group).unwrap()).collect();
            let password_hash = password_hash.clone();
            NewPerson { name: (*name).to_owned(), password_hash, totp: Some(totp.into()), groups }
        });
        let bootstrap = Bootstrap { name: "log.example.com".into(), people: people.collect(), policy: POLICY.into() };
        let config = match &url {
            Some(url) => StoreConfig::Postgres(PostgresConfig::new(url, None, None).unwrap()),
            None => StoreConfig::Sqlite { path: dir.join("countersign.db") },
        };
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let store = Store::open(&config).await.unwrap();
            bootstrap.run(&store, &master, &SystemRandom, Micros::from_secs(now())).await.unwrap();
        });
        let database = url.map(|url| url.rsplit('/').next().unwrap().to_owned());
        Some(Self { base, database, secrets })
    }

    fn dir(&self) -> PathBuf {
        self.base.path().join("data")
    }

    /// A command on the server's machine.
    fn server<const N: usize>(&self, words: [&str; N]) -> Cs {
        let dir = self.dir();
        cs(words.into_iter().chain(["--dir", dir.to_str().unwrap()]))
    }

    fn start(&self) -> (Job, String) {
        self.start_at("127.0.0.1:0")
    }

    /// Where its clients know it.
    fn start_at(&self, address: &str) -> (Job, String) {
        running(self.server(["serve", "--listen", address]))
    }

    /// A command of somebody with a folder of his own.
    fn cli<const N: usize>(&self, name: &str, address: &str, words: [&str; N]) -> Cs {
        let (home, server) = (self.home(name), format!("http://{address}"));
        cs(["--home", home.to_str().unwrap(), "--server", &server].into_iter().chain(words))
    }

    fn home(&self, name: &str) -> PathBuf {
        self.base.path().join("home").join(name)
    }

    fn log_in_client(&self, address: &str, name: &str, more: &[&str]) -> Out {
        let words = ["login", "--user", name, "--password-stdin"];
        let (home, server) = (self.home(name), format!("http://{address}"));
        let words = ["--home", home.to_str().unwrap(), "--server", &server].into_iter().chain(words);
        cs(words.chain(more.iter().copied())).stdin(format!("{PASSWORD}\n")).run()
    }

    fn both_epochs_verify(&self) {
        let walk = cs(["ledger", "verify", "--dir", self.dir().to_str().unwrap()]).run().ok();
        for origin in ["log.example.com/1 is intact", "log.example.com/2 is intact"] {
            assert!(walk.text().contains(origin), "{}", walk.text());
        }
    }
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn login(address: &str, name: &str) -> Reply {
    Api::new(address).post("login", &json!({"name": name, "password": PASSWORD}))
}

#[track_caller]
fn session(address: &str, name: &str) -> Api {
    let reply = login(address, name);
    assert_eq!(reply.status, 200, "{reply:?}");
    Api::new(address).with_token(reply.json()["token"].as_str().unwrap())
}

#[track_caller]
fn ask(api: &Api, word: &str) -> Value {
    let body = json!({"action": "command.run", "target": "db-1", "parameters": {"argv": [word]}, "reason": "to see"});
    let reply = api.post("requests", &body);
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()
}

fn answer(api: &Api, asked: &Value, code: &str) -> Reply {
    let id = asked["id"].as_str().unwrap();
    let seen = api.get(&format!("requests/{id}")).json();
    let body = json!({"challenge": seen["you"]["challenge"], "code": code, "digest": seen["digest"]});
    api.post(&format!("requests/{id}/answer"), &body)
}

/// What happened since the backup was made.
struct Today {
    backup: PathBuf,
    alice: Api,
    /// Revoked.
    token: String,
    /// Used.
    code: String,
    /// Its grant was used up.
    spent: Value,
    /// From before the backup.
    receipt: PathBuf,
    old_key: String,
}

impl Today {
    fn new(site: &Site, address: &str) -> Self {
        for name in ["alice", "bob"] {
            site.log_in_client(address, name, &[]).ok();
        }
        let (alice, bob) = (session(address, "alice"), session(address, "bob"));
        assert_eq!(alice.post("session/fresh", &json!({"code": code_of(&site.secrets["alice"])})).status, 204);
        let token = alice.post("tokens", &json!({"name": "ci", "scopes": ["command.run"], "ttl_secs": 3600}));
        let token = token.json();
        let spent = ask(&alice, "spent");
        let receipt = site.base.path().join("receipt.json");
        let id = spent["id"].as_str().unwrap().to_owned();
        site.cli("alice", address, ["show", &id, "--receipt", receipt.to_str().unwrap()]).run().ok();
        let backup = site.base.path().join("backup");
        let made = site.server(["backup", "--json", backup.to_str().unwrap()]).run().ok().json();
        let held = made["entries"].as_u64().unwrap();
        assert!(held > 0 && made["checkpoint"].as_str().unwrap().starts_with("log.example.com/1\n"), "{made}");

        let code = code_of(&site.secrets["bob"]);
        let approved = answer(&bob, &spent, &code);
        assert_eq!(approved.status, 200, "{approved:?}");
        let released = alice.post(&format!("requests/{id}/release"), &json!({}));
        assert_eq!(released.status, 200, "{released:?}");
        let revoked = alice.call("DELETE", &format!("tokens/{}", token["id"].as_str().unwrap()), &[], b"");
        assert_eq!(revoked.status, 204, "{revoked:?}");
        // The clients go on as clients do, and remember what they are shown.
        for name in ["alice", "bob"] {
            until("the client holds a newer checkpoint than the backup", || {
                site.cli(name, address, ["whoami"]).run().ok();
                (size_of(&site.home(name)) > held).then_some(())
            });
        }
        let old_key = vkey(&site.home("alice"));
        let token = token["token"].as_str().unwrap().to_owned();
        Self { backup, alice, token, code, spent, receipt, old_key }
    }

    /// Headers that are signed by nobody that matters.
    fn forged() -> [String; 3] {
        use base64::Engine as _;
        let note = |body: &str| base64::prelude::BASE64_STANDARD.encode(body);
        let root = "sTeYX/SE+2ANuTEHx3sDZcgNePW0Kd7Q/Zc2HQd5mes=";
        let signature = base64::prelude::BASE64_STANDARD.encode([7_u8; 68]);
        [
            note(&format!("log.example.com/1\n999999\n{root}\n\n— log.example.com/1 {signature}\n")),
            note(&format!("log.example.com/9\n999999\n{root}\n\n— log.example.com/9 {signature}\n")),
            "not base64 at all".to_owned(),
        ]
    }

    fn is_refused(&self, address: &str) {
        let is_restored = |reply: &Reply| (reply.status, reply.json()["slug"].clone()) == (503, json!("restored"));
        let held = Api { address: address.to_owned(), ..self.alice.clone() };
        let id = self.spent["id"].as_str().unwrap();
        for reply in [
            held.get("whoami"),
            held.post(&format!("requests/{id}/release"), &json!({})),
            Api::new(address).with_token(&self.token).get("whoami"),
            login(address, "alice"),
        ] {
            assert!(is_restored(&reply), "{reply:?}");
        }
        assert_eq!(Api::new(address).get("/healthz").text(), "restored\n");
        assert_eq!(Api::new(address).get("/ledger/checkpoint").status, 200, "the log stays to be read");
    }

    fn accept(site: &Site) -> Value {
        let accepted = site.server(["--json", "restore", "accept"]).run().ok().json();
        assert_eq!(accepted["epoch"], 2);
        assert_eq!((accepted["requests_cancelled"].as_u64(), accepted["tokens_revoked"].as_u64()), (Some(1), Some(1)));
        let again = site.server(["restore", "accept"]).run().fails();
        assert!(again.stderr.contains("nothing to accept"), "{}", again.stderr);
        accepted
    }

    fn is_over_and_all_works(&self, site: &Site, address: &str, accepted: &Value) {
        let old = Api { address: address.to_owned(), ..self.alice.clone() };
        assert_eq!(old.get("whoami").status, 401, "sessions have ended");
        assert_eq!(
            Api::new(address).with_token(&self.token).get("whoami").status,
            401,
            "a revoked token stays revoked"
        );
        let (alice, bob) = (session(address, "alice"), session(address, "bob"));
        let id = self.spent["id"].as_str().unwrap();
        assert_eq!(alice.get(&format!("requests/{id}")).json()["stage"], "cancelled");
        assert_ne!(alice.post(&format!("requests/{id}/release"), &json!({})).status, 200, "a spent grant stays spent");
        let asked = ask(&alice, "anew");
        assert_ne!(answer(&bob, &asked, &self.code).status, 200, "a used code stays used");

        // The client is asked whether it knows of the new log.
        let vkey = accepted["vkey"].as_str().unwrap();
        let changed = site.log_in_client(address, "alice", &[]).fails();
        assert!(changed.stderr.contains("log key") && changed.stderr.contains(vkey), "{}", changed.stderr);
        for name in ["alice", "bob"] {
            site.log_in_client(address, name, &["--accept-log-key", vkey]).ok();
            site.cli(name, address, ["whoami"]).run().ok();
        }
        // Codes of steps up to the acceptance are used up, shown or not; one of the next ones counts.
        let code = || code_of(&site.secrets["bob"]);
        let approved = (0..4).map(|_| answer(&bob, &asked, &code())).find(|reply| reply.status != 422).unwrap();
        assert_eq!(approved.status, 200, "{approved:?}");
        let asked = asked["id"].as_str().unwrap();
        let released = alice.post(&format!("requests/{asked}/release"), &json!({}));
        assert_eq!(released.status, 200, "{released:?}");

        // Receipts: of the new log, of both, and the one from before.
        for id in [asked, id] {
            let file = site.base.path().join(format!("{id}.json"));
            site.cli("alice", address, ["show", id, "--receipt", file.to_str().unwrap()]).run().ok();
            let verified =
                site.cli("alice", address, ["verify", file.to_str().unwrap(), "--require-pinned"]).run().ok();
            assert!(verified.text().contains(vkey), "{}", verified.text());
        }
        let receipt = self.receipt.to_str().unwrap();
        site.cli("alice", address, ["verify", receipt, "--require-pinned"]).run().ok();
        cs(["verify", receipt, "--require-pinned", "--log-key", &self.old_key]).run().ok();
        // Over the network, the log of today; the one of before stays where it was.
        site.cli("alice", address, ["ledger", "verify"]).run().ok();
        let old = Api::new(address).get("/ledger/1/checkpoint");
        assert!(old.status == 200 && old.text().starts_with("log.example.com/1\n"), "{old:?}");
    }
}

/// Of the newest checkpoint of the first epoch that a client remembers.
fn size_of(home: &Path) -> u64 {
    let kept: Value =
        fs::read(home.join("newest.json")).map_or(json!({}), |text| serde_json::from_slice(&text).unwrap());
    let note = kept["log.example.com/1"].as_str().unwrap_or_default().to_owned();
    note.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
}

fn vkey(home: &Path) -> String {
    let keys: Value = serde_json::from_slice(&fs::read(home.join("log-keys.json")).unwrap()).unwrap();
    let keys = keys.as_object().unwrap().values().next().unwrap();
    keys.as_array().unwrap().last().unwrap()["vkey"].as_str().unwrap().to_owned()
}
