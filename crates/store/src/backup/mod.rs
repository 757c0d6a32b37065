//! A backup is a SQLite file of its own with the same tables, whichever engine it was made on, so a backup of one can be restored into the other. It shows one
//! moment of the database, and is made while the service runs.
//!
//! It holds what the database holds: sealed secrets and clear texts, but no master key.

mod draft;
mod file;
mod server;

use std::path::Path;

pub use draft::Draft;

use crate::error::StoreError;
use crate::store::StoreConfig;

/// Every table, those that others refer to before these.
pub(crate) const TABLES: &[&str] = &[
    "meta",
    "data_keys",
    "signing_keys",
    "persons",
    "erased_names",
    "erasures",
    "accounts",
    "groups",
    "memberships",
    "authenticators",
    "throttles",
    "throttle_totals",
    "sessions",
    "tokens",
    "policies",
    "requests",
    "inbox",
    "evidence",
    "releases",
    "timers",
    "outbox",
    "idempotency",
    "entries",
    "openings",
    "tiles",
    "log_state",
    "checkpoints",
    "change_clock",
    "changes",
    "sink_positions",
    "leases",
];

/// Copies the database as it is at one moment into a file that is not published yet: [`Draft::publish`]. The service may run.
pub async fn backup(config: &StoreConfig, to: &Path) -> Result<Draft, StoreError> {
    let draft = Draft::beside(to)?;
    match config {
        StoreConfig::Sqlite { path } => {
            let (from, draft) = (path.clone(), draft);
            blocking(move || file::copy(&from, draft.path()).map(|()| draft)).await
        }
        StoreConfig::Postgres(config) => {
            server::read(config, draft.path()).await?;
            Ok(draft)
        }
    }
}

/// Copies a backup so that it can be looked at, and changed, without a change to the file itself. `place` is where the database is to be: for SQLite the copy
/// lies beside it and [`Draft::publish`] makes it the database; for PostgreSQL it goes to the folder of temporary files, and [`fill`] copies it over.
pub async fn take(file: &Path, config: &StoreConfig) -> Result<Draft, StoreError> {
    let draft = match config {
        StoreConfig::Sqlite { path } => Draft::beside(path)?,
        StoreConfig::Postgres(_) => Draft::beside(&file.with_extension("restoring"))?,
    };
    let file = file.to_owned();
    blocking(move || file::take(&file, draft.path()).map(|()| draft)).await
}

/// Whether the file is whole, and of a version that this program knows.
pub async fn check(draft: &Draft) -> Result<(), StoreError> {
    let path = draft.path().to_owned();
    blocking(move || file::check(&path)).await
}

/// Copies a draft into an empty database of a server, all of it or nothing.
pub async fn fill(draft: Draft, config: &crate::PostgresConfig) -> Result<(), StoreError> {
    server::write(draft.path(), config).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Stopped)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_table_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut opened = crate::sqlite::open(&folder.path().join("db"), 0).unwrap();
        let sql =
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'refinery_schema_history' ORDER BY name";
        let mut statement = opened.writer.inner().prepare(sql).unwrap();
        let all: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let mut known: Vec<_> = TABLES.to_vec();
        known.sort_unstable();
        assert_eq!(known, all);
    }
}
