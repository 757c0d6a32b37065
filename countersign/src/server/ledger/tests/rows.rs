//! Answers, releases and erasures, held against the log.

use std::time::Duration;

use countersign_core::principal::Principal;
use countersign_engine::flow::Proof;
use countersign_engine::identity::Change;
use secrecy::SecretString;

use super::*;

const PASSWORD: &str = "correct horse battery";

/// A server with one administrator, who is logged in, and another person.
struct Peopled {
    engine: Engine,
    root: Principal,
    totp: TotpSecret,
    /// The step of the newest code that was shown: the next answer waits for no clock, it takes the step after it.
    shown: std::cell::Cell<i64>,
}

async fn peopled(dir: &Path) -> Peopled {
    let store = wiring::open_store(&dir.join(config::DATABASE)).await.unwrap();
    let master = MasterKey::generate(&SystemRandom).unwrap();
    master.create_file(&dir.join(config::MASTER_KEY)).unwrap();
    let hash = countersign_keys::password::Passwords::new(countersign_keys::testing::cheap_password_params())
        .hash(&SystemRandom, &PASSWORD.into())
        .unwrap();
    let totp = TotpSecret::generate(&SystemRandom).unwrap();
    let person = |name: &str, totp: Option<TotpSecret>, groups: &[&str]| NewPerson {
        name: name.to_owned(),
        password_hash: hash.clone(),
        totp: totp.map(Into::into),
        groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
    };
    let again = TotpSecret::from_payload(secrecy::ExposeSecret::expose_secret(&totp.to_payload())).unwrap();
    let people = vec![person("root", Some(again), &["local:administrators"]), person("bob", None, &[])];
    let bootstrap = Bootstrap { name: "log.example.com".into(), people, policy: "version = 1\n".into() };
    bootstrap.run(&store, &master, &SystemRandom, SystemClock.now()).await.unwrap();
    let engine = wiring::start(store, &master, EngineConfig::default()).await.unwrap();
    let login = engine.login("root", PASSWORD.into(), None, "127.0.0.1").await.unwrap();
    let root = engine.authenticate(&login.token, "127.0.0.1").await.unwrap();
    Peopled { engine, root, totp, shown: std::cell::Cell::new(0) }
}

impl Peopled {
    /// An administrative change, confirmed.
    async fn change(&self, change: Change) {
        let asked = self.engine.administer(&self.root, change, None, None, None).await.unwrap().into_view();
        let challenge = asked.you.challenge.unwrap();
        let proof = Proof { challenge, code: self.code(), digest: asked.request.digest };
        self.engine.answer(&self.root, asked.request.id, &proof).await.unwrap();
    }

    /// A code that was not used yet: of the step before, then of this one.
    fn code(&self) -> SecretString {
        let now = SystemClock.now();
        let step = now.as_secs().div_euclid(30);
        let next = (self.shown.get() + 1).max(step - 1);
        assert!(next <= step, "a test shows two codes at most");
        self.shown.set(next);
        self.totp.code_at(now.minus(Duration::from_secs(30 * u64::try_from(step - next).unwrap())))
    }
}

/// One change, done; returns when the server has stopped.
async fn changed(dir: &Path) {
    let server = peopled(dir).await;
    server.change(Change::GroupAdd { group: "local:dba".parse().unwrap() }).await;
    server.engine.sequence().await.unwrap();
}

/// Bob is erased as far as that goes at once; his last page comes later.
async fn erased(dir: &Path) {
    let server = peopled(dir).await;
    drop(server.engine.login("bob", PASSWORD.into(), None, "127.0.0.1").await.unwrap());
    server.change(Change::PersonErase { name: "bob".into() }).await;
    while server.engine.fire_due().await.unwrap() > 0 {}
    server.engine.sequence().await.unwrap();
}

#[tokio::test]
async fn an_answer_that_was_edited_is_named() {
    for (edit, says) in [
        ("UPDATE evidence SET person_name = 'bob'", "root answered otherwise"),
        ("UPDATE evidence SET factor = 'password'", "root answered otherwise"),
        ("UPDATE evidence SET step = step - 1", "root answered otherwise"),
        ("UPDATE evidence SET person = (SELECT id FROM persons WHERE name = 'bob')", "the answer of root is missing"),
        ("DELETE FROM evidence", "the answer of root is missing"),
        (
            "INSERT INTO evidence SELECT request, (SELECT id FROM persons WHERE name = 'bob'), 'bob', factor, authenticator, step, at, digest, \
             NULL, NULL FROM evidence",
            "bob never answered",
        ),
        // Both rows that decide tell the same story; the log tells another one.
        (
            "UPDATE evidence SET person_name = 'bob'; \
             UPDATE requests SET state = replace(state, '\"name\":\"root\"', '\"name\":\"bob\"')",
            "the log holds other approvals",
        ),
        (
            "UPDATE requests SET state = replace(state, (SELECT id FROM persons WHERE name = 'root'), '01970000-0000-7000-8000-000000000000')",
            "its row was edited",
        ),
    ] {
        let base = tempfile::tempdir().unwrap();
        changed(base.path()).await;
        assert_eq!(walk(base.path(), Vec::new(), None).await.unwrap().requests, 1);
        sqlite(&base.path().join(config::DATABASE), edit);
        let what = broken(base.path(), Vec::new()).await;
        assert!(what.starts_with("request ") && what.contains(says), "{edit}: {what}");
    }
}

#[tokio::test]
async fn a_release_that_was_edited_is_named() {
    for (edit, says) in [
        (
            "UPDATE releases SET state = json_set(state, '$.state', json('{\"state\":\"in_doubt\",\"owner\":\"x\",\"since\":1}'))",
            "the log says otherwise how it ended",
        ),
        ("UPDATE releases SET state = replace(state, 'applied', 'another')", "the log says otherwise how it ended"),
        ("UPDATE releases SET state = replace(state, '\"server\"', '\"requesters_client\"')", "the log says otherwise"),
        (
            "UPDATE releases SET state = json_set(state, '$.fingerprint', \
             '0000000000000000000000000000000000000000000000000000000000000000')",
            "the log holds another fingerprint",
        ),
        ("DELETE FROM releases", "the log tells of 1 releases, there are 0"),
    ] {
        let base = tempfile::tempdir().unwrap();
        changed(base.path()).await;
        sqlite(&base.path().join(config::DATABASE), edit);
        let what = broken(base.path(), Vec::new()).await;
        assert!(what.starts_with("request ") && what.contains(says), "{edit}: {what}");
    }
}

#[tokio::test]
async fn an_erasure_is_counted_and_no_break() {
    let base = tempfile::tempdir().unwrap();
    erased(base.path()).await;
    let found = walk(base.path(), Vec::new(), None).await.unwrap();
    // Of his login, and of the request that asked for the erasure.
    assert_eq!((found.requests, found.epochs[0].erased), (1, 3 + 3));
    assert_eq!(
        sqlite(&base.path().join(config::DATABASE), "SELECT count(*) FROM persons WHERE name = 'bob'").trim(),
        "0"
    );
}

#[tokio::test]
async fn what_is_gone_without_an_erasure_is_a_break() {
    for (edit, says) in [
        (
            "DELETE FROM openings WHERE entry IN (SELECT id FROM entries WHERE CAST(bytes AS TEXT) LIKE '%login.succeeded%')",
            "no erasure tells of it",
        ),
        // Without what tells of it, an erasure is none.
        (
            "DELETE FROM openings WHERE entry IN (SELECT id FROM entries WHERE CAST(bytes AS TEXT) LIKE '%audit.erased%')",
            "does not say of what",
        ),
        ("UPDATE requests SET state = json_remove(state, '$.erased')", "its words are back"),
        (
            "UPDATE requests SET state = json_set(state, '$.stage', json('{\"stage\":\"expired\",\"approvals\":[],\"at\":1}'))",
            "the log says granted",
        ),
    ] {
        let base = tempfile::tempdir().unwrap();
        erased(base.path()).await;
        sqlite(&base.path().join(config::DATABASE), edit);
        let what = broken(base.path(), Vec::new()).await;
        assert!(what.contains(says), "{edit}: {what}");
    }
    let base = tempfile::tempdir().unwrap();
    changed(base.path()).await;
    sqlite(
        &base.path().join(config::DATABASE),
        "UPDATE requests SET state = json_set(state, '$.erased', json('true'))",
    );
    let what = broken(base.path(), Vec::new()).await;
    assert!(what.contains("no erasure tells of it"), "{what}");
}
