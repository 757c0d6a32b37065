//! Two servers, real processes, on one PostgreSQL database.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
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
use nix::sys::signal::Signal;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Api, Cs, Job, PASSWORD, Reply, code_of, cs, has_tool, running, until};

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
const PEOPLE: &[(&str, &[&str])] =
    &[("admin", &["administrators"]), ("alice", &[]), ("bob", &["security"]), ("carol", &["security"])];

#[test]
fn a_token_that_is_revoked_on_one_is_refused_on_the_other_also_without_notifications() {
    let Some(site) = Site::new(Cluster::shared()) else { return };
    let ((_a, here), (_b, there)) = (site.start(), site.start());
    let (alice, bob) = (Site::login(&here, "alice"), Site::login(&there, "bob"));
    assert_eq!(alice.post("session/fresh", &json!({"code": site.code("alice")})).status, 204);
    let make = || {
        let made = alice.post("tokens", &json!({"name": "ci", "scopes": ["command.run"], "ttl_secs": 3600}));
        assert_eq!(made.status, 201, "{made:?}");
        let made = made.json();
        let token = Api::new(&there).with_token(made["token"].as_str().unwrap());
        // In the memory of the other one from now on.
        assert_eq!((token.get("whoami").status, token.get("whoami").status), (200, 200));
        (made["id"].as_str().unwrap().to_owned(), token)
    };
    let (id, token) = make();
    assert_eq!(alice.call("DELETE", &format!("tokens/{id}"), &[], b"").status, 204);
    assert_eq!(Api { address: here.clone(), ..token.clone() }.get("whoami").status, 401, "here at once");
    until("the other one refuses it", || (token.get("whoami").status == 401).then_some(()));

    // The connections that listen are cut again and again: then there is nothing but the look at the table.
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                    WHERE datname = current_database() AND query ILIKE 'listen%'";
                site.sql(cut);
            }
        });
        let (id, token) = make();
        assert_eq!(alice.call("DELETE", &format!("tokens/{id}"), &[], b"").status, 204);
        until("the other one refuses it", || (token.get("whoami").status == 401).then_some(()));
        over.store(true, Ordering::SeqCst);
    });
    assert_eq!(bob.get("whoami").status, 200, "nobody else is thrown out");
}

#[test]
fn asked_on_one_approved_on_the_other_and_who_waits_is_told() {
    let Some(site) = Site::new(Cluster::shared()) else { return };
    let ((_a, here), (_b, there)) = (site.start(), site.start());
    let (alice, bob) = (Site::login(&here, "alice"), Site::login(&there, "bob"));
    let asked = ask(&alice, "id");
    let waited = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let (id, version) = (asked["id"].as_str().unwrap(), &asked["version"]);
            alice.get(&format!("requests/{id}/wait?version={version}&timeout_secs=50"))
        });
        approve(&site, "bob", &bob, &asked);
        waiting.join().unwrap()
    });
    assert_eq!((waited.status, &waited.json()["stage"]), (200, &json!("granted")));
    // One use, asked of both at once.
    let path = format!("requests/{}/release", asked["id"].as_str().unwrap());
    let both = both_at_once(|| alice.post(&path, &json!({})), || at(&alice, &there).post(&path, &json!({})));
    assert_eq!(both.iter().filter(|reply| reply.status == 200).count(), 1, "{both:?}");
}

#[test]
fn one_code_on_both_at_once_is_accepted_once() {
    let Some(site) = Site::new(Cluster::shared()) else { return };
    let ((_a, here), (_b, there)) = (site.start(), site.start());
    let alice = Site::login(&here, "alice");
    for (name, first, second) in [("bob", "a", "b"), ("carol", "c", "d")] {
        let answerer = Site::login(&there, name);
        let (one, two) = (ask(&alice, first), ask(&at(&alice, &there), second));
        let code = site.code(name);
        let send = |api: &Api, asked: &Value| {
            let id = asked["id"].as_str().unwrap();
            let seen = api.get(&format!("requests/{id}")).json();
            let body = json!({"challenge": seen["you"]["challenge"], "code": code, "digest": seen["digest"]});
            api.post(&format!("requests/{id}/answer"), &body)
        };
        let elsewhere = at(&answerer, &here);
        let both = both_at_once(|| send(&answerer, &one), || send(&elsewhere, &two));
        assert_eq!(both.iter().filter(|reply| reply.status == 200).count(), 1, "{both:?}");
        let refused = both.iter().find(|reply| reply.status != 200).unwrap();
        assert_eq!((refused.status, &refused.json()["why"]), (422, &json!("used-code")), "{refused:?}");
    }
}

#[test]
fn a_policy_and_a_disabled_person_of_one_hold_on_the_other() {
    let Some(site) = Site::new(Cluster::shared()) else { return };
    let ((_a, here), (_b, there)) = (site.start(), site.start());
    let (admin, alice, bob) = (Site::login(&here, "admin"), Site::login(&there, "alice"), Site::login(&there, "bob"));
    assert_eq!(bob.get("whoami").status, 200);
    let asked = ask(&alice, "id");
    site.change(&admin, &json!({"kind": "person_disable", "name": "bob"}));
    until("bob is nobody on the other", || (bob.get("whoami").status == 401).then_some(()));
    let id = asked["id"].as_str().unwrap();
    assert_eq!(bob.post(&format!("requests/{id}/deny"), &json!({})).status, 401);

    let closed = format!("{POLICY}\n[[rule]]\nid = \"closed\"\neffect = \"deny\"\naction = \"command.run\"\n");
    site.change(&admin, &json!({"kind": "policy_apply", "text": closed}));
    // Each time something else: what waits already is found again, whatever policy says by now.
    let mut tries = 0;
    until("the new policy decides on the other", || {
        tries += 1;
        let parameters = json!({"argv": [tries.to_string()]});
        let body = json!({"action": "command.run", "target": "db-1", "parameters": parameters, "reason": "to see"});
        let reply = alice.post("requests", &body);
        assert!(matches!(reply.status, 201 | 403), "{reply:?}");
        (reply.status == 403 && reply.json()["slug"] == "refused-by-policy").then_some(())
    });
}

#[test]
fn a_deadline_passes_once_for_both() {
    let Some(site) = Site::new(Cluster::shared()) else { return };
    let ((_a, here), (_b, there)) = (site.start(), site.start());
    let alice = Site::login(&here, "alice");
    let asked: Vec<String> = (0..12)
        .map(|n| {
            let body = json!({"action": "command.run", "target": "db-1", "parameters": {"argv": [n.to_string()]},
                "reason": "to see", "deadline_secs": 1});
            let reply = at(&alice, if n % 2 == 0 { &here } else { &there }).post("requests", &body);
            assert_eq!(reply.status, 201, "{reply:?}");
            reply.json()["id"].as_str().unwrap().to_owned()
        })
        .collect();
    for id in asked {
        until("it has expired", || (alice.get(&format!("requests/{id}")).json()["stage"] == "expired").then_some(()));
        assert_eq!(site.sql(&format!("SELECT count(*) FROM entries WHERE request = '{id}'")), "2");
    }
    assert_eq!(site.sql("SELECT count(*) FROM timers WHERE kind = 'request_deadline'"), "0");
}

/// The one that is killed extends the log and holds an intent. The other one takes over both, each once.
#[test]
fn the_other_one_takes_over_from_one_that_is_killed() {
    let Some(site) = Site::new(Cluster::shared()) else { return };
    let (a, here) = site.start();
    let alice = Site::login(&here, "alice");
    let bob = Site::login(&here, "bob");
    let asked = ask(&alice, "id");
    approve(&site, "bob", &bob, &asked);
    let id = asked["id"].as_str().unwrap().to_owned();
    let released = alice.post(&format!("requests/{id}/release"), &json!({}));
    assert_eq!(released.status, 200, "{released:?}");
    let holder = site.sql("SELECT owner FROM leases WHERE name = 'sequencer'");
    let (_b, there) = site.start();
    a.signal(Signal::SIGKILL);
    drop(a);

    let alice = at(&alice, &there);
    // What was committed before the kill gets its place, and what comes after it.
    let next = ask(&alice, "next");
    for id in [id.as_str(), next["id"].as_str().unwrap()] {
        let receipt = until("a receipt from the other one", || {
            let reply = alice.get(&format!("requests/{id}/receipt?timeout_secs=20"));
            (reply.status == 200).then_some(reply)
        });
        let file = site.base.path().join("receipt.json");
        std::fs::write(&file, &receipt.body).unwrap();
        cs(["verify", file.to_str().unwrap(), "--request", id]).run().ok();
    }
    assert_ne!(site.sql("SELECT owner FROM leases WHERE name = 'sequencer'"), holder);
    let view = until("the release is in doubt", || {
        let view = alice.get(&format!("requests/{id}")).json();
        (view["releases"][0]["state"] == "in_doubt").then_some(view)
    });
    assert_eq!(view["releases"].as_array().unwrap().len(), 1);
    let doubts = format!(
        "SELECT count(*) FROM entries WHERE request = '{id}' AND convert_from(bytes, 'UTF8') LIKE '%\"release.in_doubt\"%'"
    );
    assert_eq!(site.sql(&doubts), "1");
    assert_eq!(alice.post(&format!("requests/{id}/release"), &json!({})).status, 409, "its one use is gone");
}

#[test]
fn a_server_whose_clock_is_apart_refuses_and_comes_back_by_itself() {
    if !has_tool("faketime") {
        return;
    }
    let Some(site) = Site::new(Cluster::shared()) else { return };
    let (_a, here) = site.start();
    let offset = site.base.path().join("offset");
    std::fs::write(&offset, "+90").unwrap();
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", offset.display());
    // The timers of the process go on as they should; only the time of day is another.
    let wrapper = [
        "faketime",
        "-f",
        "+0",
        "env",
        "-u",
        "FAKETIME",
        "FAKETIME_NO_CACHE=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        "DONT_FAKE_MONOTONIC=1",
        &file,
    ];
    let (mut b, there) = running(site.serve(&wrapper));
    b.says("this server's clock says");
    let (alice, bob) = (Site::login(&here, "alice"), Site::login(&here, "bob"));
    let asked = ask(&alice, "id");
    let body = json!({"action": "command.run", "target": "db-1", "parameters": {"argv": ["x"]}, "reason": "to see"});
    let apart = |reply: Reply| {
        let problem = reply.json();
        assert_eq!((reply.status, &problem["slug"]), (503, &json!("clock-apart")), "{reply:?}");
        assert!(problem["server"].is_string() && problem["database"].is_string(), "{problem}");
    };
    apart(at(&alice, &there).post("requests", &body));
    apart(Api::new(&there).post("login", &json!({"name": "alice", "password": PASSWORD})));
    let seen = bob.get(&format!("requests/{}", asked["id"].as_str().unwrap())).json();
    let answer = json!({"challenge": seen["you"]["challenge"], "code": site.code("bob"), "digest": seen["digest"]});
    let path = format!("requests/{}/answer", asked["id"].as_str().unwrap());
    apart(at(&bob, &there).post(&path, &answer));
    let health = Api::new(&there).get("/healthz");
    assert_eq!((health.status, health.text().as_str()), (503, "clock-apart\n"));
    assert_eq!(Api::new(&here).get("/healthz").status, 200);
    // The code was not burnt there.
    assert_eq!(bob.post(&path, &answer).status, 200);

    std::fs::write(&offset, "+0").unwrap();
    until("it comes back", || (Api::new(&there).get("/healthz").status == 200).then_some(()));
    assert_eq!(at(&alice, &there).post("requests", &body).status, 201);
}

type Act = fn(&Cluster);

#[test]
fn while_the_database_is_away_or_hangs_the_answer_says_so_and_nothing_is_lost() {
    let cluster = Cluster::start();
    let Some(site) = Site::new(&cluster) else { return };
    let (mut server, here) = site.start();
    let alice = Site::login(&here, "alice");
    let asked = ask(&alice, "before");
    let path = format!("requests/{}", asked["id"].as_str().unwrap());
    let body = json!({"action": "command.run", "target": "db-1", "parameters": {"argv": ["x"]}, "reason": "to see"});
    let ways: [(&str, Act, Act); 3] = [
        ("stopped", Cluster::stop_fast, |cluster| cluster.launch()),
        ("killed", Cluster::kill9, |cluster| cluster.launch()),
        ("hanging", Cluster::pause, Cluster::resume),
    ];
    for (how, away, back) in ways {
        away(&cluster);
        for reply in [alice.get(&path), alice.post("requests", &body), alice.get("whoami")] {
            // Who is known to memory is believed for two seconds; nothing is done for him.
            let told = reply.status == 503
                && matches!(reply.json()["slug"].as_str(), Some("database-away" | "unknown-outcome"));
            assert!(told || (reply.status == 200 && how == "hanging"), "{how}: {reply:?}");
        }
        let health = until("health tells", || {
            let health = Api::new(&here).get("/healthz");
            (health.status == 503).then_some(health)
        });
        assert_eq!(health.text(), "database-away\n", "{how}");
        assert!(server.is_running(), "{how}");
        back(&cluster);
        until("it comes back", || (Api::new(&here).get("/healthz").status == 200).then_some(()));
        let view = until("what was acknowledged is there", || {
            let reply = alice.get(&path);
            (reply.status == 200).then(|| reply.json())
        });
        assert_eq!(view["digest"], asked["digest"], "{how}");
        let name = format!("after-{how}");
        until("it works again", || {
            let body =
                json!({"action": "command.run", "target": "db-1", "parameters": {"argv": [&name]}, "reason": "to see"});
            matches!(alice.post("requests", &body).status, 200 | 201).then_some(())
        });
    }
}

#[test]
fn init_serve_and_verify_take_the_database_from_the_configuration() {
    if !has_tool("oathtool") {
        return;
    }
    let cluster = Cluster::start_with(&[], &["host all keeper 127.0.0.1/32 scram-sha-256"]);
    cluster.psql("postgres", "CREATE ROLE keeper LOGIN PASSWORD 'hunter2 of the database'");
    let name = cluster.create("OWNER keeper TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'");
    let base = tempfile::tempdir().unwrap();
    let dir = folder(&base);
    let url = cluster.tcp_url("keeper", &name);
    let config = dir.join("countersign.toml");
    let write = |url: &str| {
        let text =
            format!("name = 'log.example.com'\n\n[database]\nurl = '{url}'\npassword_file = 'database.password'\n");
        std::fs::write(&config, text).unwrap();
    };
    write(&url);
    let password = dir.join("database.password");
    let init = || {
        cs(["init", "--json", "--admin", "root", "--password-stdin", "--dir", dir.to_str().unwrap()])
            .stdin(format!("{PASSWORD}\n"))
            .run()
    };
    let place = format!("{}:4: `database.password_file`: ", config.display());
    init().with_code(1).saying(&place);
    std::fs::write(&password, "wrong\n").unwrap();
    init().with_code(1).saying("chmod 600");
    std::fs::set_permissions(&password, Permissions::from_mode(0o600)).unwrap();
    init().with_code(1).saying(&format!("{}:4: `database.url`: ", config.display())).saying("password authentication");
    std::fs::write(&password, "hunter2 of the database\n").unwrap();
    init().ok();
    init().with_code(1).saying("is set up already");
    assert!(!dir.join("countersign.db").exists());

    let serve = || Cs::through(&[], ["serve", "--listen", "127.0.0.1:0", "--dir", dir.to_str().unwrap()]);
    let (job, address) = running(serve());
    assert_eq!(Api::new(&address).post("login", &json!({"name": "root", "password": PASSWORD})).status, 200);
    // The walk needs no stop here.
    cs(["ledger", "verify", "--dir", dir.to_str().unwrap()]).run().ok().saying("log.example.com/1");
    let said = crate::support::terminate(job).ok().stderr;
    assert!(!said.contains("hunter2"), "{said}");

    // The password from the environment, and not from both.
    let shown = cs(["config", "show"]).folder(&dir).run().ok();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(&url) && shown.contains("database.password") && !shown.contains("hunter2"), "{shown}");
    let both = serve().env("COUNTERSIGN_DATABASE_PASSWORD", "hunter2 of the database").run();
    both.with_code(1).saying("COUNTERSIGN_DATABASE_PASSWORD");
    std::fs::write(&config, format!("name = 'log.example.com'\n[database]\nurl = '{url}'\n")).unwrap();
    let (job, _) = running(serve().env("COUNTERSIGN_DATABASE_PASSWORD", "hunter2 of the database"));
    crate::support::terminate(job).ok();

    // What is away, or not fit, is said with its line.
    cluster.stop_fast();
    write(&url);
    serve()
        .run()
        .with_code(1)
        .saying(&format!("{}:4: `database.url`: the database can't be reached", config.display()));
    write("postgresql://keeper:hunter2@db.example/cs");
    let refused = serve().run().with_code(1).saying(&format!("{}:4: `database.url`: ", config.display()));
    assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
}

/// A database with people, and the folder that all of its servers are started from.
struct Site<'a> {
    cluster: &'a Cluster,
    database: String,
    base: TempDir,
    secrets: BTreeMap<&'static str, String>,
}

impl<'a> Site<'a> {
    fn new(cluster: &'a Cluster) -> Option<Self> {
        if !has_tool("oathtool") {
            return None;
        }
        let url = cluster.database();
        let base = tempfile::tempdir().unwrap();
        let dir = folder(&base);
        std::fs::write(dir.join("countersign.toml"), format!("name = 'log.example.com'\n[database]\nurl = '{url}'\n"))
            .unwrap();
        std::fs::write(dir.join("policy.toml"), POLICY).unwrap();
        let master = MasterKey::generate(&SystemRandom).unwrap();
        master.create_file(&dir.join("master.key")).unwrap();
        let password_hash = Passwords::default().hash(&SystemRandom, &PASSWORD.into()).unwrap();
        let mut secrets = BTreeMap::new();
        let people = PEOPLE
            .iter()
            .map(|(name, groups)| {
                let totp = TotpSecret::generate(&SystemRandom).unwrap();
                secrets.insert(*name, totp.to_base32().expose_secret().to_owned());
                let groups = groups.iter().map(|group| GroupName::new("local", group).unwrap()).collect();
                let password_hash = password_hash.clone();
                NewPerson { name: (*name).to_owned(), password_hash, totp: Some(totp.into()), groups }
            })
            .collect();
        let bootstrap = Bootstrap { name: "log.example.com".into(), people, policy: POLICY.into() };
        let config = StoreConfig::Postgres(PostgresConfig::new(&url, None, None).unwrap());
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = Micros::from_micros(i64::try_from(since.as_micros()).unwrap());
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let store = Store::open(&config).await.unwrap();
            bootstrap.run(&store, &master, &SystemRandom, now).await.unwrap();
        });
        let database = url.rsplit('/').next().unwrap().to_owned();
        Some(Self { cluster, database, base, secrets })
    }

    fn serve(&self, wrapper: &[&str]) -> Cs {
        let dir = self.base.path().join("data");
        Cs::through(wrapper, ["serve", "--listen", "127.0.0.1:0", "--dir", dir.to_str().unwrap()])
    }

    fn start(&self) -> (Job, String) {
        running(self.serve(&[]))
    }

    fn login(address: &str, name: &str) -> Api {
        let api = Api::new(address);
        let reply = api.post("login", &json!({"name": name, "password": PASSWORD}));
        assert_eq!(reply.status, 200, "{reply:?}");
        api.with_token(reply.json()["token"].as_str().unwrap())
    }

    fn code(&self, name: &str) -> String {
        code_of(&self.secrets[name])
    }

    /// A change by the only administrator, with a code.
    fn change(&self, admin: &Api, change: &Value) {
        let asked = admin.post("admin", &json!({"change": change, "reason": "as the test wants it"}));
        assert_eq!(asked.status, 201, "{asked:?}");
        approve(self, "admin", admin, &asked.json());
    }

    fn sql(&self, sql: &str) -> String {
        self.cluster.psql(&self.database, sql)
    }
}

fn folder(base: &TempDir) -> PathBuf {
    let dir = base.path().join("data");
    DirBuilder::new().mode(0o700).create(&dir).unwrap();
    dir
}

/// The same caller at another server.
fn at(api: &Api, address: &str) -> Api {
    Api { address: address.to_owned(), ..api.clone() }
}

#[track_caller]
fn ask(api: &Api, word: &str) -> Value {
    let body = json!({"action": "command.run", "target": "db-1", "parameters": {"argv": [word]}, "reason": "to see"});
    let reply = api.post("requests", &body);
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()
}

#[track_caller]
fn approve(site: &Site<'_>, name: &str, api: &Api, asked: &Value) {
    let id = asked["id"].as_str().unwrap();
    let seen = api.get(&format!("requests/{id}")).json();
    let body = json!({"challenge": seen["you"]["challenge"], "code": site.code(name), "digest": seen["digest"]});
    let reply = api.post(&format!("requests/{id}/answer"), &body);
    assert_eq!(reply.status, 200, "{reply:?}");
}

fn both_at_once(one: impl FnOnce() -> Reply + Send, two: impl FnOnce() -> Reply + Send) -> [Reply; 2] {
    let barrier = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            barrier.wait();
            one()
        });
        barrier.wait();
        let second = two();
        [first.join().unwrap(), second]
    })
}
