//! How a query meets an engine. Everything above speaks to these types only, so no call site knows which engine it is.

use std::future::Future;

use crate::error::{DbError, Expectation, Failure, StoreError};
use crate::sql::{self, Param, Row};
use crate::{postgres, sqlite};

/// Conflicts with every INSERT.
const HOLD_ENTRIES: &str = "LOCK TABLE entries IN SHARE ROW EXCLUSIVE MODE";

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
    Sqlite(&'c mut sqlite::Connection),
    Postgres(&'c mut postgres::Connection),
}

impl<'c> Reader<'c> {
    pub(crate) fn sqlite(connection: &'c mut sqlite::Connection) -> Self {
        Self { driver: Driver::Sqlite(connection) }
    }

    pub(crate) fn postgres(connection: &'c mut postgres::Connection) -> Self {
        Self { driver: Driver::Postgres(connection) }
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
    pub(crate) fn sqlite(connection: &'c mut sqlite::Connection) -> Self {
        Self { driver: Driver::Sqlite(connection) }
    }

    pub(crate) fn postgres(connection: &'c mut postgres::Connection) -> Self {
        Self { driver: Driver::Postgres(connection) }
    }

    /// Runs a statement; how many rows it affected.
    pub(crate) async fn execute(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, DbError> {
        self.driver.execute(sql, params).await
    }

    pub(crate) async fn query(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, DbError> {
        self.driver.query(sql, params).await
    }

    /// Waits until nobody is adding entries, and lets nobody begin to until this transaction ends.
    pub(crate) async fn hold_entries(&mut self) -> Result<(), DbError> {
        match &mut self.driver {
            // There is one writer.
            Driver::Sqlite(_) => Ok(()),
            Driver::Postgres(connection) => connection.execute(HOLD_ENTRIES, &[]).await.map(drop),
        }
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

impl Driver<'_> {
    async fn query(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, DbError> {
        sql::storable(params)?;
        match self {
            Self::Sqlite(connection) => connection.query(sql, params),
            Self::Postgres(connection) => connection.query(sql, params).await,
        }
    }

    async fn execute(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, DbError> {
        sql::storable(params)?;
        match self {
            Self::Sqlite(connection) => connection.execute(sql, params),
            Self::Postgres(connection) => connection.execute(sql, params).await,
        }
    }
}
