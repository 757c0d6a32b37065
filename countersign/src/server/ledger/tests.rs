use countersign_engine::{Bootstrap, Clock as _, Engine, EngineConfig, NewPerson};
use countersign_keys::SystemRandom;
use countersign_keys::master::MasterKey;
use countersign_keys::totp::TotpSecret;

use super::*;
use crate::server::clock::SystemClock;

mod rows;

/// A server whose policy file was proposed once: a request, its entries, and a signed log.
async fn server(dir: &Path) -> Engine {
    let store = wiring::open_store(&dir.join(config::DATABASE)).await.unwrap();
    let master = MasterKey::generate(&SystemRandom).unwrap();
    master.create_file(&dir.join(config::MASTER_KEY)).unwrap();
    let person = NewPerson {
        name: "root".to_owned(),
        password_hash:
            "$argon2id$v=19$m=19456,t=2,p=1$ZXhhbXBsZXNhbHQxMjM0$M8Hk75gfxj+4aGhNNRc95ARqC4M76UifcddUCtoK7eE".into(),
        totp: Some(TotpSecret::generate(&SystemRandom).unwrap().into()),
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

async fn walk(dir: &Path, kept: Vec<Kept>, log_key: Option<VerifierKey>) -> Result<Agreed, Finding> {
    let store = open(dir).await.unwrap();
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || verify(&Rows { store, handle }, &kept, log_key.as_ref())).await.unwrap()
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
    assert_eq!(found.epochs[0].waiting, 1);

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

/// What a client kept, before anything was done to the database.
async fn damaged(dir: &Path, sql: &str) -> String {
    let checkpoint = sequenced(dir).await;
    sqlite(&dir.join(config::DATABASE), sql);
    checkpoint
}

/// The damage is done by another program than ours.
fn sqlite(database: &Path, sql: &str) -> String {
    let output = std::process::Command::new("sqlite3").arg("-bail").arg(database).arg(sql).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Where the entry lies that names the first administrator; entries of one moment have no order of their own.
fn bootstrap_row(dir: &Path) -> String {
    let sql = "SELECT leaf_index FROM entries WHERE CAST(bytes AS TEXT) LIKE '%\"bootstrap\"%'";
    sqlite(&dir.join(config::DATABASE), sql).trim().to_owned()
}

#[tokio::test]
async fn an_edited_row_is_named() {
    let base = tempfile::tempdir().unwrap();
    drop(sequenced(base.path()).await);
    let row = bootstrap_row(base.path());
    let edit = "UPDATE entries SET bytes = CAST(replace(CAST(bytes AS TEXT), 'bootstrap', 'bootstrop') AS BLOB)";
    sqlite(&base.path().join(config::DATABASE), edit);
    let what = broken(base.path(), Vec::new()).await;
    assert!(what.contains(&format!("row {row} was edited")), "{what}");
}

#[tokio::test]
async fn swapped_rows_are_named() {
    let base = tempfile::tempdir().unwrap();
    let swap = "UPDATE entries SET leaf_index = 99 WHERE leaf_index = 1; UPDATE entries SET leaf_index = 1 WHERE leaf_index = 2; \
                UPDATE entries SET leaf_index = 2 WHERE leaf_index = 99";
    drop(damaged(base.path(), swap).await);
    let what = broken(base.path(), Vec::new()).await;
    assert!(what.contains("row 1 holds the entry that belongs to row 2"), "{what}");
}

#[tokio::test]
async fn a_row_taken_out_is_a_gap() {
    let base = tempfile::tempdir().unwrap();
    drop(damaged(base.path(), "DELETE FROM entries WHERE leaf_index = 1").await);
    let what = broken(base.path(), Vec::new()).await;
    assert!(what.contains("row 1 is missing"), "{what}");
}

#[tokio::test]
async fn a_tail_that_was_cut_everywhere_is_told_by_a_kept_checkpoint_alone() {
    let base = tempfile::tempdir().unwrap();
    let database = base.path().join(config::DATABASE);
    let engine = server(base.path()).await;
    let root = sqlite(&database, "SELECT quote(root) FROM log_state");
    engine.sequence().await.unwrap();
    let checkpoint = engine.checkpoint(None).await.unwrap().unwrap();
    drop(engine);
    let cut = "DELETE FROM openings WHERE entry IN (SELECT id FROM entries WHERE leaf_index > 2); \
               DELETE FROM entries WHERE leaf_index > 2; DELETE FROM requests; DELETE FROM timers; \
               DELETE FROM checkpoints WHERE size > 3; UPDATE tiles SET width = 3, bytes = substr(bytes, 1, 96);";
    sqlite(&database, &format!("{cut} UPDATE log_state SET size = 3, root = {root}"));
    assert_eq!(walk(base.path(), Vec::new(), None).await.unwrap().epochs[0].size, 3);
    let what = broken(base.path(), kept(&checkpoint)).await;
    assert!(what.contains("the log was cut") && what.contains("kept.txt"), "{what}");
}

#[tokio::test]
async fn a_fork_is_told_by_the_checkpoint_of_the_other_branch() {
    let base = tempfile::tempdir().unwrap();
    let branch = tempfile::tempdir().unwrap();
    let engine = server(base.path()).await;
    sqlite(
        &base.path().join(config::DATABASE),
        &format!(".backup '{}'", branch.path().join(config::DATABASE).display()),
    );
    engine.sequence().await.unwrap();
    let checkpoint = engine.checkpoint(None).await.unwrap().unwrap();
    let store = wiring::open_store(&branch.path().join(config::DATABASE)).await.unwrap();
    let master = MasterKey::read_file(&base.path().join(config::MASTER_KEY)).unwrap();
    let other = wiring::start(store, &master, EngineConfig::default()).await.unwrap();
    drop(other.propose_policy("version = 1\n# a third\n").await.unwrap());
    // Takes what both branches had waiting in another order than the first one did.
    sqlite(&branch.path().join(config::DATABASE), "UPDATE entries SET at = -at WHERE leaf_index IS NULL");
    other.sequence().await.unwrap();
    drop(other);
    assert!(walk(branch.path(), Vec::new(), None).await.is_ok());
    let what = broken(branch.path(), kept(&checkpoint)).await;
    assert!(what.contains("rewritten or forked after row 2") && what.contains("kept.txt"), "{what}");
}

#[tokio::test]
async fn a_clear_text_that_was_edited_does_not_fit_its_commitment() {
    let base = tempfile::tempdir().unwrap();
    drop(sequenced(base.path()).await);
    let row = bootstrap_row(base.path());
    let edit = "UPDATE openings SET opened = (SELECT json_group_array(json(CASE json_extract(value, '$[0]') \
        WHEN 'administrator' THEN json_set(value, '$[2]', '\"eve\"') ELSE value END)) FROM json_each(opened))";
    sqlite(&base.path().join(config::DATABASE), edit);
    let what = broken(base.path(), Vec::new()).await;
    let expected = format!("row {row} of log.example.com/1: the clear text of `administrator` was edited");
    assert!(what.contains(&expected), "{what}");
}

#[tokio::test]
async fn a_request_that_was_edited_is_named() {
    let base = tempfile::tempdir().unwrap();
    drop(damaged(base.path(), "UPDATE requests SET state = replace(state, '# other', '# evil!')").await);
    let what = broken(base.path(), Vec::new()).await;
    assert!(what.starts_with("request ") && what.contains("its row was edited"), "{what}");
}
