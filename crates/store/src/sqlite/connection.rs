//! One connection: statements with `$n`, kept prepared.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, ErrorCode, OpenFlags, ToSql, ffi};

use crate::error::DbError;
use crate::sql::{Param, Row, Value, for_sqlite};

/// How long a statement waits for another program that holds the file locked.
const BUSY: Duration = Duration::from_secs(5);
/// More than there are statements, so that none is ever prepared twice.
const STATEMENTS: usize = 256;

/// A connection with its statements.
#[derive(Debug)]
pub(crate) struct Connection {
    inner: rusqlite::Connection,
    /// The statement as SQLite wants it, under the address of the constant: hashing a pointer costs less than hashing the text.
    numbered: HashMap<(usize, usize), Box<str>>,
}

impl Connection {
    /// Opens an existing file for writing.
    pub(crate) fn writer(path: &Path) -> rusqlite::Result<Self> {
        let connection = Self::open(path)?;
        // FULL: each commit is on disk before it returns. Deleted openings and sessions are overwritten, not merely unlinked.
        connection.inner.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON; PRAGMA cache_size = -4096;",
        )?;
        Ok(connection)
    }

    pub(crate) fn reader(path: &Path) -> rusqlite::Result<Self> {
        let connection = Self::open(path)?;
        connection.inner.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -1024;")?;
        Ok(connection)
    }

    fn open(path: &Path) -> rusqlite::Result<Self> {
        // A connection belongs to one thread at a time, so SQLite's own mutexes would only cost. The path is a path, never a URI.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let inner = rusqlite::Connection::open_with_flags(path, flags)?;
        inner.busy_timeout(BUSY)?;
        inner.set_prepared_statement_cache_capacity(STATEMENTS);
        inner.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;")?;
        Ok(Self { inner, numbered: HashMap::new() })
    }

    pub(crate) fn inner(&mut self) -> &mut rusqlite::Connection {
        &mut self.inner
    }

    pub(crate) fn in_transaction(&self) -> bool {
        !self.inner.is_autocommit()
    }

    /// Runs a statement and counts the rows that it affected.
    pub(crate) fn execute(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, DbError> {
        let mut statement = self.bound(sql, params)?;
        let affected = statement.raw_execute().map_err(|error| db_error(&error))?;
        Ok(u64::try_from(affected).unwrap_or(u64::MAX))
    }

    pub(crate) fn query(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, DbError> {
        let mut statement = self.bound(sql, params)?;
        let width = statement.column_count();
        let mut rows = statement.raw_query();
        let mut out = Vec::new();
        while let Some(row) = rows.next().map_err(|error| db_error(&error))? {
            let mut values = Vec::with_capacity(width);
            for index in 0..width {
                values.push(value(row.get_ref(index).map_err(|error| db_error(&error))?)?);
            }
            out.push(Row(values));
        }
        Ok(out)
    }

    fn bound(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<CachedStatement<'_>, DbError> {
        let text = self.numbered.entry((sql.as_ptr().addr(), sql.len())).or_insert_with(|| for_sqlite(sql).into());
        let mut statement = self.inner.prepare_cached(text).map_err(|error| db_error(&error))?;
        if statement.parameter_count() != params.len() {
            return Err(DbError::Sql(format!("{} values for: {sql}", params.len())));
        }
        for (index, param) in (1..).zip(params) {
            statement.raw_bind_parameter(index, param).map_err(|error| db_error(&error))?;
        }
        Ok(statement)
    }
}

impl ToSql for Param<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(int) => ValueRef::Integer(*int),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn value(value: ValueRef<'_>) -> Result<Value, DbError> {
    match value {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(int) => Ok(Value::Int(int)),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Ok(Value::Text(text.to_owned())),
            Err(_) => Err(DbError::Broken("a text in the database is not UTF-8".to_owned())),
        },
        ValueRef::Blob(bytes) => Ok(Value::Bytes(bytes.to_vec())),
        ValueRef::Real(_) => Err(DbError::Broken("a number in the database is not whole".to_owned())),
    }
}

/// What an error of SQLite means for what was to be written.
pub(crate) fn db_error(error: &rusqlite::Error) -> DbError {
    let rusqlite::Error::SqliteFailure(code, text) = error else {
        return DbError::Sql(error.to_string());
    };
    match code.code {
        ErrorCode::ConstraintViolation if code.extended_code == ffi::SQLITE_CONSTRAINT_FOREIGNKEY => DbError::Dangling,
        ErrorCode::ConstraintViolation => {
            let text = text.as_deref().unwrap_or_default();
            DbError::Duplicate(text.rsplit(": ").next().unwrap_or_default().to_owned())
        }
        ErrorCode::DiskFull => DbError::Full,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => DbError::Busy,
        // After any of these the file may hold more or less than what this process believes. A failed sync is among them: the kernel reports it
        // once and then forgets, so a second try would lie.
        ErrorCode::SystemIoFailure
        | ErrorCode::DatabaseCorrupt
        | ErrorCode::NotADatabase
        | ErrorCode::ReadOnly
        | ErrorCode::CannotOpen
        | ErrorCode::OutOfMemory
        | ErrorCode::FileLockingProtocolFailed => DbError::Broken(error.to_string()),
        _ => DbError::Sql(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_bind_by_number_and_not_by_appearance() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        std::fs::File::create(&path).unwrap();
        let mut connection = Connection::writer(&path).unwrap();
        let rows = connection.query("SELECT $2, $1", &[Param::Int(1), Param::Int(2)]).unwrap();
        assert_eq!(rows, [Row(vec![Value::Int(2), Value::Int(1)])]);
        // What this guards against: SQLite itself takes `$2` for a name, and the first name that it meets is its number 1.
        let swapped: (i64, i64) =
            connection.inner.query_row("SELECT $2, $1", [1, 2], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(swapped, (1, 2));
    }

    #[test]
    fn too_few_values_are_an_error_and_not_null() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        std::fs::File::create(&path).unwrap();
        let mut connection = Connection::writer(&path).unwrap();
        assert!(matches!(connection.query("SELECT $1, $2", &[Param::Int(1)]), Err(DbError::Sql(_))));
    }

    #[test]
    fn a_failed_sync_and_a_full_disk_are_told_apart() {
        let failure = |code| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        assert!(matches!(db_error(&failure(ffi::SQLITE_IOERR_FSYNC)), DbError::Broken(_)));
        assert!(matches!(db_error(&failure(ffi::SQLITE_IOERR_WRITE)), DbError::Broken(_)));
        assert_eq!(db_error(&failure(ffi::SQLITE_FULL)), DbError::Full);
        assert_eq!(db_error(&failure(ffi::SQLITE_BUSY)), DbError::Busy);
    }
}
