//! Backups as files.

use std::fs::File;
use std::io;
use std::path::Path;

use rusqlite::{OpenFlags, OptionalExtension as _};

use crate::error::StoreError;
use crate::migrations;
use crate::sqlite::{opening, schema_version};

/// One moment of a database that others may be writing to.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let source = open(from)?;
    // A text that is no text is no path of a database that was opened by its path.
    let name = to
        .to_str()
        .ok_or_else(|| StoreError::NotWritable { path: to.to_owned(), why: "its path is not UTF-8".to_owned() })?;
    if schema_version(&source).map_err(|error| opening(from, &error))? == 0 {
        return Err(StoreError::NotADatabase { path: from.to_owned() });
    }
    source.execute("VACUUM INTO ?1", [name]).map_err(|error| opening(to, &error))?;
    Ok(())
}

/// The bytes of a backup.
pub(super) fn take(from: &Path, to: &Path) -> Result<(), StoreError> {
    let failed = |path: &Path, error: &io::Error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::NotWritable { path: path.to_owned(), why: error.to_string() },
    };
    let mut source =
        File::open(from).map_err(|error| StoreError::NotABackup { path: from.to_owned(), why: error.to_string() })?;
    let mut copy = File::options().write(true).truncate(true).open(to).map_err(|error| failed(to, &error))?;
    io::copy(&mut source, &mut copy).map_err(|error| failed(to, &error))?;
    copy.sync_all().map_err(|error| failed(to, &error))
}

/// Each page, each index and each reference between rows.
pub(super) fn check(path: &Path) -> Result<(), StoreError> {
    let not = |why: &str| StoreError::NotABackup { path: path.to_owned(), why: why.to_owned() };
    let connection = open(path)?;
    let found = schema_version(&connection).map_err(|error| not(&error.to_string()))?;
    let known = migrations::newest(&migrations::sqlite()?);
    if found == 0 {
        return Err(not("it holds no data of this program"));
    }
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    // A trigger that somebody added would write with the service's own hand.
    if found == known && schema(&connection).map_err(|error| not(&error.to_string()))? != fresh(path)? {
        return Err(not("its schema was changed"));
    }
    let whole: String = connection
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(|error| not(&error.to_string()))?;
    if whole != "ok" {
        return Err(not(&whole));
    }
    let dangling = connection.query_row("PRAGMA foreign_key_check", [], |row| row.get::<_, String>(0)).optional();
    match dangling.map_err(|error| not(&error.to_string()))? {
        None => Ok(()),
        Some(table) => Err(not(&format!("a row of {table} refers to one that is not there"))),
    }
}

fn schema(connection: &rusqlite::Connection) -> rusqlite::Result<Vec<(String, String, Option<String>)>> {
    let mut statement = connection.prepare("SELECT type, name, sql FROM sqlite_master ORDER BY type, name")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

fn fresh(path: &Path) -> Result<Vec<(String, String, Option<String>)>, StoreError> {
    let mut memory = rusqlite::Connection::open_in_memory().map_err(|error| opening(path, &error))?;
    crate::sqlite::migrate_file(path, &mut memory)?;
    schema(&memory).map_err(|error| opening(path, &error))
}

pub(super) fn open(path: &Path) -> Result<rusqlite::Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = rusqlite::Connection::open_with_flags(path, flags).map_err(|error| opening(path, &error))?;
    connection
        .execute_batch("PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY; PRAGMA busy_timeout = 5000;")
        .map_err(|error| opening(path, &error))?;
    Ok(connection)
}
