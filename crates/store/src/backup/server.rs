//! Backups of and into a server: the rows of each table, streamed, in one transaction that sees, or shows, one moment.

use std::path::Path;
use std::pin::pin;

use futures_util::TryStreamExt as _;
use rusqlite::types::ValueRef;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_postgres::Client;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::{TABLES, blocking, file};
use crate::error::StoreError;
use crate::migrations;
use crate::postgres::{PostgresConfig, db_error, session};
use crate::sql::Value;
use crate::sqlite::{db_error as sqlite_error, migrate_file};

/// Rows that are held in memory at once, and batches of them.
const BATCH: usize = 128;
const BATCHES: usize = 4;

const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0";
/// Nobody else fills the same database, and no process that waits for one sees half of it.
const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL statement_timeout = 0; \
    LOCK TABLE meta IN ACCESS EXCLUSIVE MODE";
const IS_EMPTY: &str =
    "SELECT CASE WHEN EXISTS (SELECT 1 FROM meta) OR EXISTS (SELECT 1 FROM log_state) THEN 0 ELSE 1 END";
const VERSION: &str = "SELECT COALESCE(MAX(CAST(version AS BIGINT)), 0) FROM refinery_schema_history";

type Rows = Vec<Vec<Value>>;

/// Copies every table of the server into a new file.
pub(super) async fn read(config: &PostgresConfig, to: &Path) -> Result<(), StoreError> {
    let mut connected = session(config, &Handle::current(), || None).await?;
    let client = &mut connected.client;
    client.batch_execute(BEGIN_READ).await.map_err(|error| told(&error))?;
    let found: i64 =
        client.query_one(VERSION, &[]).await.and_then(|row| row.try_get(0)).map_err(|error| told(&error))?;
    let known = migrations::newest(&migrations::postgres()?);
    if found != known {
        return Err(StoreError::Newer { found, known });
    }
    let path = to.to_owned();
    let columns = blocking(move || new_file(&path)).await?;
    let (rows, received) = mpsc::channel(BATCHES);
    let path = to.to_owned();
    let into = columns.clone();
    let inserting = blocking(move || insert_all(&path, &into, received));
    let copied = async {
        let copied = send_all(client, &columns, &rows).await;
        drop(rows);
        copied
    };
    let (inserted, copied) = tokio::join!(inserting, copied);
    both(inserted, copied)
}

/// Copies every table of a file into an empty database.
pub(super) async fn write(from: &Path, config: &PostgresConfig) -> Result<(), StoreError> {
    crate::postgres::migrate(config, &Handle::current()).await?;
    let connected = session(config, &Handle::current(), || None).await?;
    let client = &connected.client;
    client.batch_execute(BEGIN_WRITE).await.map_err(|error| told(&error))?;
    let empty: i32 =
        client.query_one(IS_EMPTY, &[]).await.and_then(|row| row.try_get(0)).map_err(|error| told(&error))?;
    if empty == 0 {
        return Err(StoreError::Unfit(
            "it holds data already, and a backup is restored into an empty database; create a new one, or drop this one's tables first".to_owned(),
        ));
    }
    for table in TABLES {
        // The one row that the schema begins with.
        client.execute(&format!("DELETE FROM {table}"), &[]).await.map_err(|error| told(&error))?;
    }
    let path = from.to_owned();
    let columns = blocking(move || file::open(&path).and_then(|file| all_columns(&file))).await?;
    let (rows, received) = mpsc::channel(BATCHES);
    let path = from.to_owned();
    let reading = blocking(move || read_all(&path, &rows));
    let (read, copied) = tokio::join!(reading, receive_all(client, &columns, received));
    both(read, copied)?;
    client.batch_execute("COMMIT").await.map_err(|error| told(&error))
}

/// Two ends of a channel. One that stopped because the other did has nothing to tell.
fn both(one: Result<(), StoreError>, other: Result<(), StoreError>) -> Result<(), StoreError> {
    match (one, other) {
        (Err(StoreError::Stopped) | Ok(()), Err(why)) | (Err(why), _) => Err(why),
        (Ok(()), Ok(())) => Ok(()),
    }
}

async fn receive_all(client: &Client, columns: &Columns, mut received: mpsc::Receiver<Rows>) -> Result<(), StoreError> {
    for (table, columns) in columns {
        let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let types: Vec<_> = columns.iter().map(|(_, kind)| kind.clone()).collect();
        let copy = format!("COPY {table} ({}) FROM STDIN BINARY", names.join(", "));
        let sink = client.copy_in(&copy).await.map_err(|error| told(&error))?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
        loop {
            // An empty batch ends a table; none at all means that the reader gave up in the middle.
            let rows = received.recv().await.ok_or(StoreError::Stopped)?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                writer.as_mut().write_raw(row.iter().map(Own)).await.map_err(|error| told(&error))?;
            }
        }
        writer.as_mut().finish().await.map_err(|error| told(&error))?;
    }
    Ok(())
}

/// The tables in their order, each with its columns and what is in them.
type Columns = Vec<(&'static str, Vec<(String, Type)>)>;

async fn send_all(client: &Client, columns: &Columns, send: &mpsc::Sender<Rows>) -> Result<(), StoreError> {
    for (table, columns) in columns {
        let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let statement =
            client.prepare(&format!("SELECT {} FROM {table}", names.join(", "))).await.map_err(|error| told(&error))?;
        let none: [&i64; 0] = [];
        let mut rows = pin!(client.query_raw(&statement, none).await.map_err(|error| told(&error))?);
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(row) = rows.try_next().await.map_err(|error| told(&error))? {
            batch.push(
                (0..names.len()).map(|at| row.try_get(at)).collect::<Result<_, _>>().map_err(|error| told(&error))?,
            );
            if batch.len() == BATCH {
                send.send(std::mem::take(&mut batch)).await.map_err(|_| StoreError::Stopped)?;
            }
        }
        if !batch.is_empty() {
            send.send(batch).await.map_err(|_| StoreError::Stopped)?;
        }
        // An empty batch ends a table.
        send.send(Vec::new()).await.map_err(|_| StoreError::Stopped)?;
    }
    Ok(())
}

fn new_file(path: &Path) -> Result<Columns, StoreError> {
    let mut file = file::open(path)?;
    migrate_file(path, &mut file)?;
    all_columns(&file)
}

fn all_columns(file: &rusqlite::Connection) -> Result<Columns, StoreError> {
    TABLES.iter().map(|table| Ok((*table, columns_of(file, table)?))).collect()
}

fn columns_of(file: &rusqlite::Connection, table: &str) -> Result<Vec<(String, Type)>, StoreError> {
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
    let mut statement =
        file.prepare("SELECT name, type FROM pragma_table_info(?1) ORDER BY cid").map_err(|error| of_file(&error))?;
    let columns = statement
        .query_map([table], read)
        .map_err(|error| of_file(&error))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| of_file(&error))?;
    let kind = |(name, kind): (String, String)| match kind.as_str() {
        "BIGINT" => Ok((name, Type::INT8)),
        "BYTEA" => Ok((name, Type::BYTEA)),
        "TEXT" => Ok((name, Type::TEXT)),
        other => Err(StoreError::Corrupt(format!("a column of type {other} in {table}"))),
    };
    columns.into_iter().map(kind).collect()
}

fn insert_all(path: &Path, columns: &Columns, mut receive: mpsc::Receiver<Rows>) -> Result<(), StoreError> {
    let mut file = file::open(path)?;
    let transaction = file.transaction().map_err(|error| of_file(&error))?;
    for (table, columns) in columns {
        let places: Vec<_> = (1..=columns.len()).map(|at| format!("?{at}")).collect();
        let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
        transaction.execute(&format!("DELETE FROM {table}"), []).map_err(|error| of_file(&error))?;
        let insert = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), places.join(", "));
        let mut insert = transaction.prepare(&insert).map_err(|error| of_file(&error))?;
        loop {
            let rows = receive.blocking_recv().ok_or(StoreError::Stopped)?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                for (at, value) in (1..).zip(&row) {
                    match value {
                        Value::Null => insert.raw_bind_parameter(at, rusqlite::types::Null),
                        Value::Int(int) => insert.raw_bind_parameter(at, int),
                        Value::Text(text) => insert.raw_bind_parameter(at, text),
                        Value::Bytes(bytes) => insert.raw_bind_parameter(at, bytes),
                    }
                    .map_err(|error| of_file(&error))?;
                }
                insert.raw_execute().map_err(|error| of_file(&error))?;
            }
        }
    }
    transaction.commit().map_err(|error| of_file(&error))
}

fn read_all(path: &Path, send: &mpsc::Sender<Rows>) -> Result<(), StoreError> {
    let file = file::open(path)?;
    for (table, columns) in all_columns(&file)? {
        let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let mut select =
            file.prepare(&format!("SELECT {} FROM {table}", names.join(", "))).map_err(|error| of_file(&error))?;
        let mut rows = select.query([]).map_err(|error| of_file(&error))?;
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(row) = rows.next().map_err(|error| of_file(&error))? {
            let value = |at| row.get_ref(at).map_err(|error| of_file(&error)).and_then(|value| own(value, table));
            batch.push((0..names.len()).map(value).collect::<Result<_, StoreError>>()?);
            if batch.len() == BATCH {
                // Whoever takes no more has an error of his own to tell.
                send.blocking_send(std::mem::take(&mut batch)).map_err(|_| StoreError::Stopped)?;
            }
        }
        if !batch.is_empty() {
            send.blocking_send(batch).map_err(|_| StoreError::Stopped)?;
        }
        send.blocking_send(Vec::new()).map_err(|_| StoreError::Stopped)?;
    }
    Ok(())
}

fn own(value: ValueRef<'_>, table: &str) -> Result<Value, StoreError> {
    let odd = |what: &str| StoreError::Corrupt(format!("{what} in {table}"));
    match value {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(int) => Ok(Value::Int(int)),
        ValueRef::Text(text) => {
            String::from_utf8(text.to_vec()).map(Value::Text).map_err(|_| odd("a text that is not UTF-8"))
        }
        ValueRef::Blob(bytes) => Ok(Value::Bytes(bytes.to_vec())),
        ValueRef::Real(_) => Err(odd("a number that is not whole")),
    }
}

/// A value on its way to the server. It is not shown: it may be a secret.
struct Own<'a>(&'a Value);

impl std::fmt::Debug for Own<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("_")
    }
}

impl ToSql for Own<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match (self.0, ty) {
            (Value::Null, _) => Ok(IsNull::Yes),
            (Value::Int(int), &Type::INT8) => int.to_sql(ty, out),
            (Value::Text(text), &Type::TEXT) => text.to_sql(ty, out),
            (Value::Bytes(bytes), &Type::BYTEA) => bytes.to_sql(ty, out),
            _ => Err(format!("a value that is no {ty}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn told(error: &tokio_postgres::Error) -> StoreError {
    db_error(error).into()
}

fn of_file(error: &rusqlite::Error) -> StoreError {
    sqlite_error(error).into()
}
