//! How a query meets an engine. Everything above speaks to these types only, so no call site knows which engine it is.

use std::future::Future;

use crate::error::{DbError, Expectation, Failure, StoreError};
use crate::sql::{Param, Row};
use crate::sqlite::Connection;

/// A question to the store. It runs in one transaction that sees one moment of the database.
pub trait Load: Send + 'static {
    type Out: Send + 'static;

    /// Whether it may read so much that it must not hold up the runtime.
    const HEAVY: bool = false;

    fn load(self, reader: &mut Reader<'_>) -> impl Future<Output = Result<Self::Out, StoreError>> + Send;
}

/// A read transaction.
#[derive(Debug)]
pub struct Reader<'c> {
    driver: Driver<'c>,
}

/// A commit's part of a write transaction.
#[derive(Debug)]
pub(crate) struct Tx<'c> {
    driver: Driver<'c>,
}

#[derive(Debug)]
enum Driver<'c> {
    Sqlite(&'c mut Connection),
}

impl<'c> Reader<'c> {
    pub(crate) fn sqlite(connection: &'c mut Connection) -> Self {
        Self { driver: Driver::Sqlite(connection) }
    }

    /// All rows of a statement.
    pub async fn query(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        Ok(self.driver.query(sql, params).await?)
    }

    /// Each row, read by `read`.
    pub(crate) async fn all<T>(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
        read: fn(Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.query(sql, params).await?.into_iter().map(read).collect()
    }

    /// The first row, if there is one.
    pub(crate) async fn first<T>(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
        read: fn(Row) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.query(sql, params).await?.into_iter().next().map(read).transpose()
    }
}

impl<'c> Tx<'c> {
    pub(crate) fn sqlite(connection: &'c mut Connection) -> Self {
        Self { driver: Driver::Sqlite(connection) }
    }

    /// Runs a statement; how many rows it affected.
    pub(crate) async fn execute(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, DbError> {
        self.driver.execute(sql, params).await
    }

    pub(crate) async fn query(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, DbError> {
        self.driver.query(sql, params).await
    }

    /// Runs a statement that must affect exactly one row, or the expectation is not met.
    pub(crate) async fn one(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
        unmet: impl FnOnce() -> Expectation + Send,
    ) -> Result<(), Failure> {
        match self.execute(sql, params).await {
            Ok(1) => Ok(()),
            Ok(_) => Err(Failure::Unmet(unmet())),
            Err(DbError::Duplicate(columns)) => {
                Err(Failure::Unmet(Expectation::Exists { what: "a row with the same", key: columns }))
            }
            Err(DbError::Dangling) => {
                Err(Failure::Unmet(Expectation::Missing { what: "a row that this one refers to", key: String::new() }))
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[expect(clippy::unused_async, reason = "SQLite answers at once; the PostgreSQL driver awaits the network here")]
impl Driver<'_> {
    async fn query(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, DbError> {
        match self {
            Self::Sqlite(connection) => connection.query(sql, params),
        }
    }

    async fn execute(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, DbError> {
        match self {
            Self::Sqlite(connection) => connection.execute(sql, params),
        }
    }
}
