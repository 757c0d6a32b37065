//! The schema, one text for both engines, and what refinery says about it.

use refinery::Migration;
use refinery::error::Kind;

use crate::error::StoreError;

/// Each migration under its name, oldest first. One that has been released is never edited: the database remembers its checksum.
const MIGRATIONS: &[(&str, &str)] = &[("V1__first", include_str!("../migrations/V1__first.sql"))];

/// SQLite else keeps two trees for a table that has a key of its own; PostgreSQL does not know the words.
const WITHOUT_ROWID: &str = " WITHOUT ROWID";

pub(crate) fn sqlite() -> Result<Vec<Migration>, StoreError> {
    read(str::to_owned)
}

pub(crate) fn postgres() -> Result<Vec<Migration>, StoreError> {
    read(|sql| sql.replace(WITHOUT_ROWID, ""))
}

fn read(dialect: fn(&str) -> String) -> Result<Vec<Migration>, StoreError> {
    MIGRATIONS
        .iter()
        .map(|(name, sql)| Migration::unapplied(name, &dialect(sql)))
        .collect::<Result<_, _>>()
        .map_err(|error| StoreError::Sql(error.to_string()))
}

pub(crate) fn newest(migrations: &[Migration]) -> i64 {
    migrations.iter().map(|migration| i64::from(migration.version())).max().unwrap_or(0)
}

/// The error of a database whose history is not ours.
pub(crate) fn altered(error: &refinery::Error) -> Option<StoreError> {
    match error.kind() {
        Kind::DivergentVersion(..) | Kind::MissingVersion(_) => Some(StoreError::Altered(error.to_string())),
        _ => None,
    }
}

/// An engine's own error beneath another.
pub(crate) fn source<'e, E: std::error::Error + 'static>(
    error: &'e (dyn std::error::Error + 'static),
) -> Option<&'e E> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        at = error.source();
    }
    None
}
