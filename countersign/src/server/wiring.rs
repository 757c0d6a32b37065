//! Rows, keys and clock put together into an engine; what can go wrong on the way, in words for the operator.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use countersign_engine::sinks::Attached;
use countersign_engine::{Engine, EngineConfig, EngineError, Keyring, Parts};
use countersign_factors::PasswordPool;
use countersign_keys::master::MasterKey;
use countersign_keys::password::Passwords;
use countersign_keys::{SystemRandom, random};
use countersign_store::{Store, StoreError};
use tokio::net::TcpListener;

use super::clock::SystemClock;
use super::config::{Database, Unopened};
use crate::exit::Failure;

/// A name for this start of the process: owner of its leases, prefix of its request ids.
pub(super) fn node() -> anyhow::Result<String> {
    Ok(format!("{:016x}", u64::from_be_bytes(random::bytes(&SystemRandom)?)))
}

/// Opens the database of a configuration, and creates what is missing in it.
pub(super) async fn open_database(database: &Database) -> anyhow::Result<Store> {
    database.open().await.map_err(unopened)
}

/// Why a database could not be used, in words.
pub(super) fn unopened(unopened: Unopened<'_>) -> anyhow::Error {
    match unopened {
        Unopened::Store(error, Database::Postgres(postgres)) => {
            let failure = postgres.said(&error);
            match hint(&error) {
                Some(hint) => failure.hint(hint).into(),
                None => failure.into(),
            }
        }
        Unopened::Store(error, Database::Sqlite(_)) => store_error(&error),
        Unopened::Setting(problem) => Failure::new(problem.to_string()).into(),
    }
}

/// Opens a database in a file, and creates it if there is none.
pub(super) async fn open_store(path: &Path) -> anyhow::Result<Store> {
    open_database(&Database::Sqlite(path.to_owned())).await
}

/// Takes up a database that `init` or `demo` has set up.
pub(super) async fn start(store: Store, master: &MasterKey, config: EngineConfig) -> anyhow::Result<Engine> {
    start_with(store, master, config, Vec::new()).await
}

/// The same, with sinks that get what the log gets.
pub(super) async fn start_with(
    store: Store,
    master: &MasterKey,
    config: EngineConfig,
    sinks: Vec<Attached>,
) -> anyhow::Result<Engine> {
    let keys = Keyring::open(&store, master).await.map_err(words)?;
    let parts = Parts {
        store,
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        keys,
        passwords: passwords(),
        config,
        sinks,
    };
    Engine::start(parts).await.map_err(words)
}

/// As many hashes side by side as there are cores, but one: a flood of logins must leave room for everything else.
pub(super) fn passwords() -> PasswordPool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    PasswordPool::new(Passwords::default(), cores.saturating_sub(1).max(1))
}

pub(super) async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another program listens there, perhaps a server that runs already: stop it, or choose another address with --listen"
            }
            std::io::ErrorKind::PermissionDenied => {
                "ports below 1024 are for privileged processes: choose another one, and let a proxy stand before it"
            }
            std::io::ErrorKind::AddrNotAvailable => "this machine does not have that address: see `ip address`",
            _ => "choose another address with --listen",
        };
        Failure::new(format!("cannot listen on {address}: {error}")).hint(hint).into()
    })
}

/// The engine hides from callers what only the operator may read; here the operator reads.
pub(super) fn words(error: EngineError) -> anyhow::Error {
    match error {
        EngineError::Internal(why) => Failure::new(why).into(),
        other => other.into(),
    }
}

fn store_error(error: &StoreError) -> anyhow::Error {
    let failure = Failure::new(error.to_string());
    match hint(error) {
        Some(hint) => failure.hint(hint).into(),
        None => failure.into(),
    }
}

fn hint(error: &StoreError) -> Option<&'static str> {
    Some(match error {
        StoreError::InUse { .. } => "a server runs in this folder: use that one, or stop it first",
        StoreError::NotWritable { .. } => "the service's user must be able to write to the folder and all files in it",
        StoreError::Newer { .. } => "a newer version of the program has been here; it changed nothing now",
        StoreError::Full => "make room on the disk and start again",
        StoreError::Away { .. } => "does PostgreSQL run there, and does its pg_hba.conf let this user in from here?",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;

    #[tokio::test]
    async fn a_port_in_use_is_said_with_what_to_do() {
        let first = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = first.local_addr().unwrap();
        let error = listen(address).await.unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        assert_eq!(exit::code_of(&error), 1);
    }

    #[tokio::test]
    async fn a_database_has_one_server() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("countersign.db");
        let first = open_store(&path).await.unwrap();
        let error = open_store(&path).await.unwrap_err();
        assert!(error.to_string().contains("in use"), "{error}");
        drop(first);
        assert!(open_store(&path).await.is_ok());
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_left_alone() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("countersign.db");
        std::fs::write(&path, "this is not a database, but long enough to look at its head".repeat(40)).unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(open_store(&path).await.unwrap_err().to_string().contains("not a database"));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
