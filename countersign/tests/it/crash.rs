//! The service, its disk and its database are broken again and again under load; nothing that was acknowledged may be gone. What clients do, what is
//! broken and what is checked is the same as in `cargo xtask soak crash`, which does it for longer.

use std::path::Path;
use std::time::Duration;

use crate::soak::proxy::Moment;
use crate::soak::{Engine, Fault, Load, Size};
use crate::support::has_tool;

const SIZE: Size = Size { clients: 32, approvers: 2 };
/// Turns of the clients, after which there is a kill: from the very first answers to a log that is long enough to be moved into the database.
const KILLS: [u64; 10] = [1, 40, 5, 100, 20, 2, 150, 60, 10, 80];

#[test]
fn sqlite_kills_under_load_lose_nothing() {
    kills_under_load_lose_nothing(Engine::Sqlite);
}

#[test]
fn postgres_kills_under_load_lose_nothing() {
    kills_under_load_lose_nothing(Engine::Postgres);
}

#[test]
fn sqlite_a_kill_at_the_nth_sync_loses_nothing() {
    let base = tempfile::tempdir().unwrap();
    let Some(mut load) = load(Engine::Sqlite, base.path()) else { return };
    for n in [1, 2, 3, 8, 30] {
        load.killed_at_sync(n).unwrap();
        assert_eq!(load.damage(false).unwrap(), [""; 0], "sync {n}");
    }
    concluded(&load, &["asked"]);
}

/// SQLite cannot know what is on the disk after such an error, so nobody asks it: the process ends, and the next start reads.
#[test]
fn sqlite_a_disk_that_fails_ends_it_and_loses_nothing() {
    let base = tempfile::tempdir().unwrap();
    let Some(mut load) = load(Engine::Sqlite, base.path()) else { return };
    for fault in [Fault::SyncFails(4), Fault::SyncFails(40), Fault::WriteFails(30), Fault::WriteFails(120)] {
        load.fails(fault).unwrap();
        assert_eq!(load.damage(false).unwrap(), [""; 0], "{fault:?}");
    }
    concluded(&load, &["asked"]);
}

#[test]
fn sqlite_a_full_disk_is_told_and_gone_through() {
    let base = tempfile::tempdir().unwrap();
    let Some(mut load) = load(Engine::Sqlite, base.path()) else { return };
    assert_eq!(load.fills_up(100, 40).unwrap(), [""; 0]);
    assert_eq!(load.damage(true).unwrap(), [""; 0]);
    concluded(&load, &["asked", "denied", "cancelled"]);
}

#[test]
fn sqlite_a_slow_disk_loses_nothing() {
    let base = tempfile::tempdir().unwrap();
    let Some(mut load) = load(Engine::Sqlite, base.path()) else { return };
    load.crawls(Duration::from_millis(50), 40).unwrap();
    assert_eq!(load.damage(true).unwrap(), [""; 0]);
    concluded(&load, &["asked"]);
}

#[test]
fn postgres_a_kill_at_the_nth_commit_loses_nothing() {
    let base = tempfile::tempdir().unwrap();
    let Some(mut load) = load(Engine::Postgres, base.path()) else { return };
    for (n, moment) in [1, 2, 3, 8, 30].into_iter().flat_map(|n| [(n, Moment::Sent), (n, Moment::Done)]) {
        load.killed_at_commit(n, moment).unwrap();
        assert_eq!(load.damage(false).unwrap(), [""; 0], "COMMIT {n} {moment:?}");
    }
    concluded(&load, &["asked"]);
}

#[test]
fn postgres_a_killed_database_server_loses_nothing_and_the_service_comes_back() {
    let base = tempfile::tempdir().unwrap();
    let Some(mut load) = load(Engine::Postgres, base.path()) else { return };
    let moments = [700, 300, 1_100].map(Duration::from_millis);
    assert_eq!(load.loses_its_database(&moments).unwrap(), [""; 0]);
    assert_eq!(load.damage(true).unwrap(), [""; 0]);
    concluded(&load, &["asked", "denied", "cancelled"]);
}

/// The same check, on a server that does lose something: one that lives on in an older copy of its database.
#[test]
fn sqlite_a_server_that_forgets_is_found_out() {
    let base = tempfile::tempdir().unwrap();
    let Some(mut load) = load(Engine::Sqlite, base.path()) else { return };
    let files = ["countersign.db", "countersign.db-wal"];
    one_life(&mut load, 60);
    assert_eq!(load.damage(true).unwrap(), [""; 0]);
    let dir = load.home().dir().to_owned();
    let [database, log] = files.map(|name| std::fs::read(dir.join(name)).ok());
    one_life(&mut load, 60);
    for (name, content) in files.iter().zip([database, log]) {
        let file = dir.join(name);
        match content {
            Some(content) => std::fs::write(file, content).unwrap(),
            None => std::fs::remove_file(file).unwrap(),
        }
    }
    let damage = load.damage(false).unwrap();
    assert!(damage.iter().any(|what| what.starts_with("lost: ")), "{damage:?}");
}

fn kills_under_load_lose_nothing(engine: Engine) {
    let base = tempfile::tempdir().unwrap();
    let Some(mut load) = load(engine, base.path()) else { return };
    for turns in KILLS {
        one_life(&mut load, turns);
        assert_eq!(load.damage(false).unwrap(), [""; 0], "after {turns} turns");
    }
    assert_eq!(load.damage(true).unwrap(), [""; 0]);
    concluded(&load, &["asked", "approved", "denied", "cancelled", "released", "reported", "login"]);
}

fn load(engine: Engine, base: &Path) -> Option<Load> {
    let tools = ["oathtool", "strace", "sqlite3"];
    let there = tools.iter().all(|tool| has_tool(tool));
    there.then(|| Load::new(engine, Path::new(env!("CARGO_BIN_EXE_countersign")), base, SIZE).unwrap())
}

/// A start and, so much work later, the kill.
fn one_life(load: &mut Load, turns: u64) {
    load.start().unwrap();
    load.work(turns).unwrap();
    load.kill().unwrap();
}

/// A load that does nothing would prove nothing.
fn concluded(load: &Load, verbs: &[&str]) {
    eprintln!("{}", load.report());
    let counts = load.counts();
    for verb in verbs {
        assert!(counts.contains_key(verb), "never {verb}: {counts:?}");
    }
}
