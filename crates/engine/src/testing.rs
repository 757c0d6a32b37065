//! A whole engine on a temporary database with people in it. For tests only, here and in the doors.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use countersign_core::canonical::Value;
use countersign_core::decide::Ctx;
use countersign_core::entry::EntryKind;
use countersign_core::names::GroupName;
use countersign_core::operation::Operation;
use countersign_core::principal::Principal;
use countersign_core::time::Micros;
use countersign_factors::PasswordPool;
use countersign_keys::master::MasterKey;
use countersign_keys::password::Passwords;
use countersign_keys::testing::{SeededRandom, cheap_password_params};
use countersign_keys::totp::TotpSecret;
use countersign_store::{Store, StoreConfig};
use secrecy::SecretString;

use crate::flow::{Ask, Proof, View};
use crate::sinks::{Attached, Record};
use crate::{Bootstrap, Clock, Engine, EngineConfig, EngineError, Keyring, NewPerson, Parts};

/// A clock that stands where it is put.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    pub fn at(secs: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(Micros::from_secs(secs).as_micros())))
    }

    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }

    pub fn set(&self, to: Micros) {
        self.0.store(to.as_micros(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Micros {
        Micros::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// When tests begin: 2026-01-01T00:00:00Z.
pub const START: i64 = 1_767_225_600;
/// Everybody's password.
pub const PASSWORD: &str = "correct horse battery";

/// The people of most tests: who, and of which groups.
pub const PEOPLE: &[(&str, &[&str])] = &[
    ("admin", &["administrators"]),
    ("alice", &[]),
    ("bob", &["security"]),
    ("carol", &["security", "dba"]),
    ("dave", &["dba"]),
];

/// One of `security` for each of alice's commands; one of each group for databases.
pub const POLICY: &str = r#"
version = 1
[[rule]]
id = "commands"
effect = "require"
action = "command.run"
quorum = [{ k = 1, of = "local:security" }]
grant = { ttl = "5m", uses = 1 }
deadline = "30m"
[[rule]]
id = "tables"
effect = "require"
action = "table.drop"
quorum = [{ k = 1, of = "local:dba" }, { k = 1, of = "local:security" }]
[[rule]]
id = "reads"
effect = "allow"
action = "report.read"
"#;

/// An engine, its clock, and everybody's secrets.
#[derive(Debug)]
pub struct World {
    pub engine: Engine,
    pub clock: Arc<ManualClock>,
    pub secrets: Vec<(String, TotpSecret)>,
}

impl World {
    /// A new database in a file in `dir` with these people and this policy.
    pub async fn create(dir: &Path, people: &[(&str, &[&str])], policy: &str) -> Result<Self, EngineError> {
        Self::on(&config(dir), people, policy).await
    }

    /// The same on any empty database.
    pub async fn on(config: &StoreConfig, people: &[(&str, &[&str])], policy: &str) -> Result<Self, EngineError> {
        let clock = ManualClock::at(START);
        let random = SeededRandom::new(7);
        let master = master()?;
        let store = Store::open(config).await?;
        let passwords = Passwords::new(cheap_password_params());
        let hash = passwords.hash(&random, &PASSWORD.into()).map_err(EngineError::internal)?;
        let mut secrets = Vec::new();
        let mut new = Vec::new();
        for (name, groups) in people {
            let secret = TotpSecret::generate(&random).map_err(EngineError::internal)?;
            let copy = again(&secret)?;
            secrets.push(((*name).to_owned(), copy));
            let groups = groups.iter().map(|group| GroupName::new("local", group)).collect::<Result<_, _>>();
            let groups = groups.map_err(EngineError::internal)?;
            new.push(NewPerson {
                name: (*name).to_owned(),
                password_hash: hash.clone(),
                totp: Some(secret.into()),
                groups,
            });
        }
        let bootstrap = Bootstrap { name: "log.example".to_owned(), people: new, policy: policy.to_owned() };
        bootstrap.run(&store, &master, &random, clock.now()).await?;
        Ok(Self { engine: start(store, Arc::clone(&clock), 8).await?, clock, secrets })
    }

    /// The usual people and policy.
    pub async fn usual(dir: &Path) -> Result<Self, EngineError> {
        Self::create(dir, PEOPLE, POLICY).await
    }

    /// Logs somebody in from 127.0.0.1.
    pub async fn login(&self, name: &str) -> Result<Principal, EngineError> {
        let login = self.engine.login(name, PASSWORD.into(), None, "127.0.0.1").await?;
        self.engine.authenticate(&login.token, "127.0.0.1").await
    }

    /// The code that somebody's authenticator shows now.
    pub fn code(&self, name: &str) -> SecretString {
        let now = self.clock.now();
        self.secrets
            .iter()
            .find(|(owner, _)| owner == name)
            .map_or_else(|| "000000".into(), |(_, secret)| secret.code_at(now))
    }

    /// What somebody sends to answer what he sees.
    pub fn proof(&self, name: &str, view: &View) -> Option<Proof> {
        let challenge = view.you.challenge?;
        Some(Proof { challenge, code: self.code(name), digest: view.request.digest })
    }

    /// Looks at a request as somebody, and answers it with the code of the moment.
    pub async fn answer(&self, principal: &Principal, request: &View) -> Result<View, EngineError> {
        let view = self.engine.show(principal, request.request.id).await?;
        let name = principal.person.as_ref().map_or("", |person| person.name.as_str());
        let challenge = request.request.stage.challenges().first().map(|challenge| challenge.id);
        let fallback =
            challenge.map(|challenge| Proof { challenge, code: self.code(name), digest: view.request.digest });
        let proof = self.proof(name, &view).or(fallback);
        let proof = proof.ok_or(EngineError::NotFound("challenge"))?;
        self.engine.answer(principal, request.request.id, &proof).await
    }
}

/// A request for a command, as the client sends it.
pub fn command(argv: &[&str], reason: Option<&str>) -> Ask {
    let parameters = Value::object([
        ("argv", Value::array(argv.iter().copied())),
        ("cwd", Value::from("/srv")),
        ("user", Value::from("alice")),
    ]);
    ask("command.run", "host1", parameters, reason)
}

/// A request for anything.
///
/// # Panics
///
/// When `action` is no action.
#[expect(clippy::expect_used, reason = "a test that misspells an action should stop there")]
pub fn ask(action: &str, target: &str, parameters: Value, reason: Option<&str>) -> Ask {
    let action = action.parse().expect("an action");
    let operation =
        Operation { door: "api".to_owned(), action, target: target.to_owned(), parameters, context: Value::Null };
    Ask { operation, reason: reason.map(str::to_owned), deadline: None, idempotency: None, secret: None }
}

/// Where the database of a test lies.
pub fn config(dir: &Path) -> StoreConfig {
    StoreConfig::Sqlite { path: dir.join("countersign.db") }
}

/// An engine on a database that was set up before.
pub async fn start(store: Store, clock: Arc<ManualClock>, seed: u64) -> Result<Engine, EngineError> {
    start_with(store, clock, seed, Vec::new()).await
}

/// The same, with sinks.
pub async fn start_with(
    store: Store,
    clock: Arc<ManualClock>,
    seed: u64,
    sinks: Vec<Attached>,
) -> Result<Engine, EngineError> {
    // A clock that stands where it is put agrees with no other one.
    start_within(store, clock, seed, sinks, Duration::MAX).await
}

/// The same, where the clock may be only so far from the database's.
pub async fn start_within(
    store: Store,
    clock: Arc<ManualClock>,
    seed: u64,
    sinks: Vec<Attached>,
    clock_tolerance: Duration,
) -> Result<Engine, EngineError> {
    let keys = Keyring::open(&store, &master()?).await?;
    let config = EngineConfig { node: format!("node-{seed}"), clock_tolerance, ..EngineConfig::default() };
    let passwords = PasswordPool::new(Passwords::new(cheap_password_params()), 2);
    Engine::start(Parts { store, clock, random: Arc::new(SeededRandom::new(seed)), keys, passwords, config, sinks })
        .await
}

/// What a sink gets of an entry with this reason.
pub fn record(seed: u8, reason: &str) -> Result<Record, EngineError> {
    let mut ctx = Ctx::new(Micros::from_secs(START), [seed; 32]);
    let fields = vec![ctx.field("reason", reason)];
    let draft = ctx.entry(EntryKind::RequestAsked, None, Vec::new(), fields);
    let entry = countersign_ledger::encode(&draft, 1, "k").map_err(EngineError::internal)?;
    Record::new("log.example", &entry.bytes, &entry.openings, None).map_err(EngineError::internal)
}

fn master() -> Result<MasterKey, EngineError> {
    MasterKey::generate(&SeededRandom::new(1)).map_err(EngineError::internal)
}

fn again(secret: &TotpSecret) -> Result<TotpSecret, EngineError> {
    use secrecy::ExposeSecret;
    TotpSecret::from_payload(secret.to_payload().expose_secret()).map_err(EngineError::internal)
}
