use countersign_engine::{Bootstrap, Clock as _, Engine, EngineConfig, NewPerson};
use countersign_keys::SystemRandom;
use countersign_keys::master::MasterKey;
use countersign_keys::totp::TotpSecret;

use super::*;
use crate::server::clock::SystemClock;

/// A server whose policy file was proposed once: a request, its entries, and a signed log.
async fn server(dir: &Path) -> Engine {
    let store = wiring::open_store(&dir.join(config::DATABASE)).await.unwrap();
    let master = MasterKey::generate(&SystemRandom).unwrap();
    let person = NewPerson {
        name: "root".to_owned(),
        password_hash:
            "$argon2id$v=19$m=19456,t=2,p=1$ZXhhbXBsZXNhbHQxMjM0$M8Hk75gfxj+4aGhNNRc95ARqC4M76UifcddUCtoK7eE".into(),
        totp: Some(TotpSecret::generate(&SystemRandom).unwrap()),
        groups: vec!["local:administrators".parse().unwrap()],
    };
    let bootstrap = Bootstrap { name: "log.example.com".into(), people: vec![person], policy: "version = 1\n".into() };
    bootstrap.run(&store, &master, &SystemRandom, SystemClock.now()).await.unwrap();
    let engine = wiring::start(store, &master, EngineConfig::default()).await.unwrap();
    engine.sequence().await.unwrap();
    drop(engine.propose_policy("version = 1\n# other\n").await.unwrap());
    engine
}

async fn sequenced(dir: &Path) -> String {
    let engine = server(dir).await;
    engine.sequence().await.unwrap();
    engine.checkpoint(None).await.unwrap().unwrap()
}

async fn walk(dir: &Path, kept: Vec<Kept>, log_key: Option<VerifierKey>) -> Result<Intact, Finding> {
    let store = open(dir).await.unwrap();
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || verify(&Database { store, handle }, &kept, log_key.as_ref())).await.unwrap()
}

async fn broken(dir: &Path, kept: Vec<Kept>) -> String {
    match walk(dir, kept, None).await {
        Err(Finding::Broken(what)) => what,
        other => panic!("{other:?}"),
    }
}

fn kept(text: &str) -> Vec<Kept> {
    vec![Kept { file: "kept.txt".into(), text: text.to_owned() }]
}

#[tokio::test]
async fn an_honest_log_is_intact_before_and_after_it_is_sequenced() {
    let base = tempfile::tempdir().unwrap();
    drop(server(base.path()).await);
    let found = walk(base.path(), Vec::new(), None).await.unwrap();
    assert_eq!((found.requests, found.epochs[0].size, found.epochs[0].checkpoints), (1, 3, 1));
    assert!(found.epochs[0].waiting >= 2, "{found:?}");

    let base = tempfile::tempdir().unwrap();
    let checkpoint = sequenced(base.path()).await;
    let found = walk(base.path(), kept(&checkpoint), None).await.unwrap();
    let epoch = &found.epochs[0];
    assert_eq!((epoch.waiting, epoch.unsigned, epoch.erased, epoch.checkpoints), (0, 0, 0, 3));
    assert!(checkpoint.starts_with(&format!("log.example.com/1\n{}\n", epoch.size)));
}

#[tokio::test]
async fn a_kept_key_and_a_kept_checkpoint_of_another_log_do_not_fit() {
    let base = tempfile::tempdir().unwrap();
    drop(sequenced(base.path()).await);
    let other = tempfile::tempdir().unwrap();
    let foreign = sequenced(other.path()).await;
    // The same name, another key: as if somebody had made the whole log anew.
    let what = broken(base.path(), kept(&foreign)).await;
    assert!(what.contains("not signed by the key"), "{what}");
    let what = broken(base.path(), kept(&foreign.replace("log.example.com", "log.example.org"))).await;
    assert!(what.contains("not a checkpoint of this log"), "{what}");
    let key = walk(other.path(), Vec::new(), None).await.unwrap().epochs[0].vkey.parse().unwrap();
    assert!(matches!(walk(base.path(), Vec::new(), Some(key)).await, Err(Finding::Broken(_))));
}

#[tokio::test]
async fn a_server_that_runs_is_to_be_asked_itself() {
    let base = tempfile::tempdir().unwrap();
    let engine = server(base.path()).await;
    let error = open(base.path()).await.unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    drop(engine);
    assert!(open(&base.path().join("elsewhere")).await.is_err());
}
