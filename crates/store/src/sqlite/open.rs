//! Opening the file: who may, which schema, and what to say when it can't be.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use refinery::Runner;
use rusqlite::OptionalExtension as _;

use super::connection::db_error;
use super::{Connection, now};
use crate::error::{DbError, Failure, StoreError};
use crate::migrations;
use crate::reader::Tx;
use crate::tables::leases;

/// A database that is ready, and the lock that keeps other processes out of it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) writer: Connection,
    pub(crate) readers: Vec<Connection>,
    pub(crate) lock: File,
}

pub(crate) fn open(path: &Path, readers: usize) -> Result<Opened, StoreError> {
    let lock = lock(path)?;
    create(path).map_err(|error| not_writable(path, &error))?;
    let mut writer = Connection::writer(path).map_err(|error| opening(path, &error))?;
    let mode: String = writer
        .inner()
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(|error| opening(path, &error))?;
    if mode != "wal" {
        let why = "its file system does not allow the shared memory that SQLite needs".to_owned();
        return Err(StoreError::NotWritable { path: path.to_owned(), why });
    }
    migrate(path, &mut writer)?;
    end_leases(&mut writer)?;
    sync_folder(path).map_err(|error| not_writable(path, &error))?;
    let readers = (0..readers)
        .map(|_| Connection::reader(path).map_err(|error| opening(path, &error)))
        .collect::<Result<_, _>>()?;
    Ok(Opened { writer, readers, lock })
}

/// Counters and claims assume that nobody else writes: two services on one file would each answer from a state that the other changes.
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    let file = private(&mut options).open(&name).map_err(|error| not_writable(path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(not_writable(path, &error)),
    }
}

/// Creates the file readable for its owner alone; SQLite gives its log the same rights.
fn create(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    private(&mut options).open(path).map(drop)
}

#[cfg(unix)]
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.mode(0o600)
}

#[cfg(not(unix))]
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// A new file's name is on disk only once its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn migrate(path: &Path, writer: &mut Connection) -> Result<(), StoreError> {
    migrate_file(path, writer.inner())
}

pub(crate) fn migrate_file(path: &Path, connection: &mut rusqlite::Connection) -> Result<(), StoreError> {
    let migrations = migrations::sqlite()?;
    let known = migrations::newest(&migrations);
    let found = schema_version(connection).map_err(|error| opening(path, &error))?;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    Runner::new(&migrations).run(connection).map_err(|error| {
        migrations::altered(&error).unwrap_or_else(|| {
            migrations::source(&error)
                .map_or_else(|| StoreError::Sql(error.to_string()), |sqlite| opening(path, sqlite))
        })
    })?;
    Ok(())
}

/// Who held a lease is dead: it had this lock. Waiting for its end would keep the log, and with it every release, still for that long after a crash.
fn end_leases(writer: &mut Connection) -> Result<(), StoreError> {
    match now(leases::release_all(&mut Tx::sqlite(writer))) {
        Some(Ok(())) => Ok(()),
        Some(Err(Failure::Db(error))) => Err(error.into()),
        Some(Err(failure)) => Err(StoreError::Sql(format!("{failure:?}"))),
        None => Err(StoreError::Stopped),
    }
}

pub(crate) fn schema_version(connection: &rusqlite::Connection) -> rusqlite::Result<i64> {
    let table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'refinery_schema_history'";
    if connection.query_row(table, [], |_| Ok(())).optional()?.is_none() {
        return Ok(0);
    }
    connection.query_row("SELECT COALESCE(MAX(CAST(version AS BIGINT)), 0) FROM refinery_schema_history", [], |row| {
        row.get(0)
    })
}

pub(crate) fn opening(path: &Path, error: &rusqlite::Error) -> StoreError {
    let not_writable = || StoreError::NotWritable { path: path.to_owned(), why: error.to_string() };
    // A full file system has no room for the index of the log, and SQLite calls that an I/O error. Nothing was begun, so nothing is in doubt.
    if let rusqlite::Error::SqliteFailure(code, _) = error
        && code.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
    {
        return StoreError::Full;
    }
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => StoreError::NotADatabase { path: path.to_owned() },
        Some(
            rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::PermissionDenied,
        ) => not_writable(),
        _ => match db_error(error) {
            DbError::Broken(why) => StoreError::Io(why),
            other => other.into(),
        },
    }
}

fn not_writable(path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
        ErrorKind::NotFound => {
            StoreError::NotWritable { path: path.to_owned(), why: "its folder does not exist".to_owned() }
        }
        _ => StoreError::NotWritable { path: path.to_owned(), why: error.to_string() },
    }
}
