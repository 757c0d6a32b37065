//! One connection: statements kept prepared, transactions, and an end for each wait.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use tokio::time::timeout;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, SimpleQueryStream, Statement};

use super::error::{db_error, refused, why};
use crate::error::DbError;
use crate::sql::{Param, Row, Value};

/// How long a statement may take before the server counts as away.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// The same for questions that read much, and for the sync of a commit, which waits for disks and standbys.
pub(super) const LONG_PATIENCE: Duration = Duration::from_secs(20);
pub(super) const SYNC_PATIENCE: Duration = Duration::from_secs(5);

const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/// A session with its statements.
pub(crate) struct Connection {
    client: Client,
    /// Under the address of the constant: hashing a pointer costs less than hashing the text.
    statements: HashMap<(usize, usize), Statement>,
    patience: Duration,
    /// The answer to a BEGIN that was sent together with what follows it.
    beginning: Option<std::pin::Pin<Box<SimpleQueryStream>>>,
    in_transaction: bool,
    /// A statement of this transaction failed, so the server would take a COMMIT for a ROLLBACK without a word.
    failed: bool,
    /// Something was not answered in time: what comes next on this connection may be the answer to that.
    broken: bool,
}

/// What became of a COMMIT.
#[derive(Debug)]
pub(super) enum Outcome {
    Written,
    /// Nothing was.
    Undone(DbError),
    Unknown(String),
}

impl Connection {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            statements: HashMap::new(),
            patience: PATIENCE,
            beginning: None,
            in_transaction: false,
            failed: false,
            broken: false,
        }
    }

    /// Whether it can be used again.
    pub(super) fn is_alive(&self) -> bool {
        !self.broken && !self.client.is_closed()
    }

    /// Begins what sees one moment. It is sent together with the first statement; a failure is that statement's.
    pub(super) async fn begin_read(&mut self, heavy: bool) -> Result<(), DbError> {
        self.patience = if heavy { LONG_PATIENCE } else { PATIENCE };
        self.in_transaction = true;
        let stream = self.client.simple_query_raw(BEGIN_READ).await.map_err(|error| db_error(&error))?;
        self.beginning = Some(Box::pin(stream));
        Ok(())
    }

    /// Begins what writes. Waits for the answer: a statement that ran without its BEGIN would be a commit by itself.
    pub(super) async fn begin_write(&mut self) -> Result<(), DbError> {
        self.patience = PATIENCE;
        self.in_transaction = true;
        let begun = timeout(PATIENCE, self.client.batch_execute(BEGIN_WRITE)).await;
        self.answered(begun)
    }

    /// Ends a transaction without writing. Sent and not waited for: whatever uses this connection next comes after it.
    pub(super) fn rollback(&mut self) {
        if !self.in_transaction {
            return;
        }
        self.in_transaction = false;
        self.failed = false;
        self.beginning = None;
        // The message is handed over at the first poll; the answer is for nobody.
        let sent = pin!(self.client.simple_query_raw("ROLLBACK")).poll(&mut Context::from_waker(Waker::noop()));
        if !matches!(sent, Poll::Ready(Ok(_))) {
            self.broken = true;
        }
    }

    pub(super) async fn commit(&mut self) -> Outcome {
        if self.failed {
            return Outcome::Undone(DbError::Sql("a statement failed and its commit went on".to_owned()));
        }
        if !self.is_alive() {
            return Outcome::Undone(DbError::Away("the connection was lost".to_owned()));
        }
        match timeout(SYNC_PATIENCE, self.client.batch_execute("COMMIT")).await {
            Ok(Ok(())) => {
                self.in_transaction = false;
                Outcome::Written
            }
            Ok(Err(error)) if refused(&error) => Outcome::Undone(db_error(&error)),
            Ok(Err(error)) => {
                self.broken = true;
                Outcome::Unknown(why(&error))
            }
            Err(_) => {
                self.broken = true;
                Outcome::Unknown("it did not answer to COMMIT".to_owned())
            }
        }
    }

    /// Runs a statement and counts the rows that it affected.
    pub(crate) async fn execute(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, DbError> {
        let statement = self.prepared(sql, params).await?;
        let running = self.client.execute_raw(&statement, params.iter().map(Bound));
        let affected = timeout(self.patience, running).await;
        self.answered(affected)
    }

    pub(crate) async fn query(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, DbError> {
        let statement = self.prepared(sql, params).await?;
        let width = statement.columns().len();
        let running = async {
            let mut stream = pin!(self.client.query_raw(&statement, params.iter().map(Bound)).await?);
            let mut out = Vec::new();
            while let Some(row) = stream.try_next().await? {
                let values = (0..width).map(|index| row.try_get(index)).collect::<Result<Vec<Value>, _>>()?;
                out.push(Row(values));
            }
            Ok(out)
        };
        let rows = timeout(self.patience, running).await;
        let rows = self.answered(rows)?;
        if let Some(beginning) = self.beginning.take() {
            // Answered before the statement was.
            let begun = timeout(self.patience, beginning.try_collect::<Vec<_>>()).await;
            self.answered(begun)?;
        }
        Ok(rows)
    }

    async fn prepared(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<Statement, DbError> {
        let key = (sql.as_ptr().addr(), sql.len());
        let statement = if let Some(known) = self.statements.get(&key) {
            known.clone()
        } else {
            let prepared = timeout(self.patience, self.client.prepare(sql)).await;
            let statement = self.answered(prepared)?;
            self.statements.insert(key, statement.clone());
            statement
        };
        fits(&statement, params).map_err(|why| DbError::Sql(format!("{why} in: {sql}")))?;
        Ok(statement)
    }

    /// Sorts out the ways in which an answer can fail to come, and remembers them.
    fn answered<T>(
        &mut self,
        answer: Result<Result<T, tokio_postgres::Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, DbError> {
        let error = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) if error.as_db_error().is_some() => db_error(&error),
            Ok(Err(error)) => {
                self.broken = true;
                DbError::Away(why(&error))
            }
            Err(_) => {
                self.broken = true;
                DbError::Away("it did not answer in time".to_owned())
            }
        };
        self.failed = true;
        Err(error)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("alive", &self.is_alive()).finish_non_exhaustive()
    }
}

/// What is wrong with a statement, if it can't be prepared or takes or gives what no [`Value`] is.
#[cfg(test)]
pub(super) async fn unfit(client: &Client, sql: &str) -> Option<String> {
    match client.prepare(sql).await {
        Err(error) => Some(format!("{}: {sql}", why(&error))),
        Ok(statement) => {
            let kept = [Type::INT8, Type::TEXT, Type::BYTEA];
            let odd = statement.params().iter().find(|wanted| !kept.contains(wanted));
            let odd =
                odd.or(statement.columns().iter().map(tokio_postgres::Column::type_).find(|ty| !Value::accepts(ty)));
            odd.map(|odd| format!("a value is taken for {odd}, write CAST: {sql}"))
        }
    }
}

/// The server infers what a `$n` is; a value of another kind is a fault of the statement, and is found before it is sent.
fn fits(statement: &Statement, params: &[Param<'_>]) -> Result<(), String> {
    let wanted = statement.params();
    if wanted.len() != params.len() {
        return Err(format!("{} values for {}", params.len(), wanted.len()));
    }
    for (index, (wanted, param)) in wanted.iter().zip(params).enumerate() {
        let fits = match param {
            Param::Null => [Type::INT8, Type::TEXT, Type::BYTEA].contains(wanted),
            Param::Int(_) => *wanted == Type::INT8,
            Param::Text(_) => *wanted == Type::TEXT,
            Param::Bytes(_) => *wanted == Type::BYTEA,
        };
        if !fits {
            return Err(format!("${} is taken for {wanted}, write CAST", index + 1));
        }
    }
    Ok(())
}

/// A value on its way. The protocol's own code logs what is bound, so this does not show it.
struct Bound<'a>(&'a Param<'a>);

impl fmt::Debug for Bound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

impl ToSql for Bound<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self.0 {
            Param::Null => Ok(IsNull::Yes),
            Param::Int(int) => int.to_sql(ty, out),
            Param::Text(text) => text.as_ref().to_sql(ty, out),
            Param::Bytes(bytes) => bytes.to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        // `fits` has looked.
        true
    }

    to_sql_checked!();
}

impl<'r> FromSql<'r> for Value {
    fn from_sql(ty: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        match *ty {
            Type::INT8 => i64::from_sql(ty, raw).map(Self::Int),
            Type::INT4 => i32::from_sql(ty, raw).map(|int| Self::Int(int.into())),
            Type::BYTEA => <&[u8]>::from_sql(ty, raw).map(|bytes| Self::Bytes(bytes.to_vec())),
            _ => <&str>::from_sql(ty, raw).map(|text| Self::Text(text.to_owned())),
        }
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(ty: &Type) -> bool {
        [Type::INT8, Type::INT4, Type::BYTEA, Type::TEXT].contains(ty)
    }
}
