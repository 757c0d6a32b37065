//! Opening: what is kept, what is refused, and what is said.

use std::sync::Arc;

use countersign_core::changes::Write;
use countersign_core::identity::Person;
use countersign_store::testing::{self, FaultPlan, When};
use countersign_store::{
    Commit, CommitError, MetaExpectation, MetaGet, PersonById, Store, StoreConfig, StoreError, SystemWrite,
};

use crate::support::{Db, NOW, on_both, person, write};

on_both! {
    a_closed_store_opens_again,
    a_newer_schema_is_refused_with_both_numbers,
    an_edited_schema_history_is_refused,
    a_planned_death_happens_before_or_after_the_effect,
    a_text_with_nul_is_refused,
}

async fn a_closed_store_opens_again(db: Db) {
    let store = db.open().await;
    write(&store, vec![Write::InsertPerson(person(1))]).await;
    drop(store);
    assert_eq!(db.open().await.load(PersonById(person(1).id)).await.unwrap(), Some(person(1)));
}

#[tokio::test]
async fn a_second_process_on_a_file_is_refused() {
    let db = Db::sqlite();
    let _store = db.open().await;
    let error = Store::open(&db.config).await.unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
}

#[tokio::test]
async fn a_dead_process_holds_no_lease() {
    let db = Db::sqlite();
    let store = db.open().await;
    let hour = NOW.plus(std::time::Duration::from_hours(1));
    let first = store.acquire_lease("sequencer", "one", NOW, hour).await.unwrap().unwrap();
    assert_eq!(store.acquire_lease("sequencer", "two", NOW, hour).await.unwrap(), None);
    drop(store);
    let store = db.open().await;
    let second = store.acquire_lease("sequencer", "two", NOW, hour).await.unwrap().unwrap();
    assert!(second > first, "a new holder has a new fence");
}

async fn a_newer_schema_is_refused_with_both_numbers(db: Db) {
    drop(db.open().await);
    let insert = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
        VALUES (99, 'later', '2030-01-01T00:00:00Z', '1')";
    db.sql(insert);
    let error = Store::open(&db.config).await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
}

async fn an_edited_schema_history_is_refused(db: Db) {
    drop(db.open().await);
    db.sql("UPDATE refinery_schema_history SET checksum = '1' WHERE version = 1");
    assert!(matches!(Store::open(&db.config).await, Err(StoreError::Altered(_))));
}

async fn a_text_with_nul_is_refused(db: Db) {
    let store = db.open().await;
    let named = Person { name: "al\0ice".to_owned(), ..person(1) };
    let refused = store.commit(Commit::from(vec![Write::InsertPerson(named)])).await;
    assert!(matches!(&refused, Err(CommitError::Refused(why)) if why.contains("U+0000")), "{refused:?}");
    assert_eq!(store.load(PersonById(person(1).id)).await.unwrap(), None);
    let asked = store.load(MetaGet("a\0b".to_owned())).await;
    assert!(matches!(&asked, Err(StoreError::Sql(why)) if why.contains("U+0000")), "{asked:?}");
    write(&store, vec![Write::InsertPerson(person(1))]).await;
}

#[tokio::test]
async fn what_is_no_database_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("countersign.db");
    let text = "a letter to my aunt, somewhat longer than the header of a database would be, so that SQLite reads it"
        .repeat(20);
    std::fs::write(&path, &text).unwrap();
    let error = Store::open(&StoreConfig::Sqlite { path: path.clone() }).await.unwrap_err();
    assert!(matches!(error, StoreError::NotADatabase { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(path).unwrap(), text);
}

#[tokio::test]
async fn a_folder_that_cant_be_used_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing").join("countersign.db");
    let error = Store::open(&StoreConfig::Sqlite { path: missing.clone() }).await.unwrap_err();
    assert!(matches!(error, StoreError::NotWritable { .. }));
    assert!(error.to_string().contains(missing.to_str().unwrap()) && error.to_string().contains("does not exist"));
    std::fs::write(folder.path().join("file"), "").unwrap();
    let below = Store::open(&StoreConfig::Sqlite { path: folder.path().join("file").join("db") }).await;
    assert!(matches!(below, Err(StoreError::NotWritable { .. })));
}

#[cfg(unix)]
#[tokio::test]
async fn a_read_only_folder_is_refused_and_files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let db = Db::sqlite();
    let store = db.open().await;
    let folder = db.path().parent().unwrap().to_owned();
    for name in ["countersign.db", "countersign.db-wal", "countersign.db.lock"] {
        let mode = std::fs::metadata(folder.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
    drop(store);
    let empty = folder.join("empty");
    std::fs::create_dir(&empty).unwrap();
    std::fs::set_permissions(&empty, std::fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write everywhere.
    if std::fs::write(empty.join("probe"), "").is_err() {
        let error = Store::open(&StoreConfig::Sqlite { path: empty.join("countersign.db") }).await.unwrap_err();
        assert!(error.to_string().contains("make its folder writable"), "{error}");
    }
}

#[tokio::test]
async fn another_program_that_holds_the_file_is_named() {
    let db = Db::sqlite();
    let store = db.open().await;
    let other = rusqlite::Connection::open(db.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let commit = || Commit::from(vec![Write::InsertPerson(person(1))]);
    assert_eq!(store.commit(commit()).await, Err(CommitError::Busy));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.commit(commit()).await, Ok(()));
}

async fn a_planned_death_happens_before_or_after_the_effect(db: Db) {
    for (when, stands) in [(When::Before, false), (When::After, true)] {
        let plan = Arc::new(FaultPlan::new(1, when));
        let store = testing::open(&db.config, Arc::clone(&plan)).await.unwrap();
        let put = |key: &str| {
            let key = format!("{key} {when:?}");
            let write = SystemWrite::PutMeta { key, value: vec![1], expect: MetaExpectation::Absent };
            Commit::from(vec![write])
        };
        assert_eq!(store.commit(put("zero")).await, Ok(()));
        assert!(!plan.hit());
        assert_eq!(store.commit(put("one")).await, Err(CommitError::Unknown));
        assert!(plan.hit());
        assert_eq!(store.commit(put("two")).await, Err(CommitError::Unknown));
        assert_eq!(store.load(MetaGet("zero Before".to_owned())).await, Err(StoreError::Stopped));
        assert!(store.acquire_lease("l", "o", NOW, NOW).await.is_err());
        drop(store);
        let store = db.open().await;
        let found = |key: &str| store.load(MetaGet(format!("{key} {when:?}")));
        assert!(found("zero").await.unwrap().is_some());
        assert_eq!(found("one").await.unwrap().is_some(), stands, "{when:?}");
        assert!(found("two").await.unwrap().is_none());
    }
}
