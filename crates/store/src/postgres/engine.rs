//! Questions and commits on a server.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use countersign_core::time::Micros;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use super::changes::{self, Tell};
use super::config::PostgresConfig;
use super::connection::Outcome;
use super::migrate::migrate;
use super::pool::Pool;
use crate::error::{CommitError, DbError, Expectation, StoreError};
use crate::op::{Op, Reply};
use crate::reader::{Load, Reader, Tx};
use crate::sql::params;
use crate::store::Counters;

const TIME: &str = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)";

/// A database on a server.
#[derive(Debug)]
pub(crate) struct Postgres {
    shared: Arc<Shared>,
    /// The runtime that opened it: connections live there, whoever calls.
    runtime: Handle,
    listener: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    pool: Arc<Pool>,
    counters: Arc<Counters>,
    changed: watch::Sender<()>,
    tell: Tell,
}

impl Postgres {
    pub(crate) async fn open(
        config: &PostgresConfig,
        counters: Arc<Counters>,
        changed: watch::Sender<()>,
    ) -> Result<Self, StoreError> {
        let runtime = Handle::current();
        migrate(config, &runtime).await?;
        let tell = Tell::default();
        let listening = changes::listen(config.clone(), runtime.clone(), changed.clone(), tell.clone());
        let listener = runtime.spawn(listening).abort_handle();
        let pool = Arc::new(Pool::new(config.clone(), runtime.clone()));
        Ok(Self { shared: Arc::new(Shared { pool, counters, changed, tell }), runtime, listener })
    }

    pub(crate) async fn load<Q: Load>(&self, query: Q) -> Result<Q::Out, StoreError> {
        let shared = Arc::clone(&self.shared);
        let reading = Reading(self.runtime.spawn(async move { shared.load(query).await }));
        reading.done().await.unwrap_or(Err(StoreError::Stopped))
    }

    pub(crate) async fn submit(&self, op: Op) -> Result<Reply, CommitError> {
        let shared = Arc::clone(&self.shared);
        // A task of its own goes on when the caller does not.
        let writing = self.runtime.spawn(async move { shared.write(&op).await });
        writing.await.unwrap_or(Err(CommitError::Unknown))
    }

    pub(crate) async fn time(&self) -> Result<Micros, StoreError> {
        self.load(Time).await
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Shared {
    async fn load<Q: Load>(&self, query: Q) -> Result<Q::Out, StoreError> {
        let mut lent = self.pool.lend().await?;
        let connection = lent.connection()?;
        connection.begin_read(Q::HEAVY).await?;
        query.load(&mut Reader::postgres(connection)).await
    }

    async fn write(&self, op: &Op) -> Result<Reply, CommitError> {
        let mut lent = self.pool.lend().await.map_err(away)?;
        let begun = lent.connection().map_err(undone)?.begin_write().await;
        if let Err(error) = begun {
            if lent.connection().is_ok_and(|connection| connection.is_alive()) {
                return Err(undone(error));
            }
            // A connection that died while nobody used it. Nothing was sent but BEGIN, so another one can be tried.
            drop(lent);
            lent = self.pool.lend().await.map_err(away)?;
            lent.connection().map_err(undone)?.begin_write().await.map_err(undone)?;
        }
        let connection = lent.connection().map_err(undone)?;
        let reply = match op.apply(&mut Tx::postgres(connection)).await {
            Ok(reply) => reply,
            Err(failure) => return Err(failure.of_its_own().unwrap_or_else(undone)),
        };
        match connection.commit().await {
            Outcome::Written => {}
            Outcome::Undone(error) => return Err(undone(error)),
            Outcome::Unknown(why) => {
                tracing::warn!(%why, "the database was lost during a commit, so it is not known whether it was written");
                return Err(CommitError::Unknown);
            }
        }
        self.counters.transactions.fetch_add(1, Ordering::Relaxed);
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        if op.announces() {
            self.changed.send_replace(());
            self.tell.others();
        }
        Ok(reply)
    }
}

/// A question that is being asked. Whoever stops waiting for the answer stops the question.
struct Reading<T>(JoinHandle<T>);

impl<T> Reading<T> {
    async fn done(mut self) -> Option<T> {
        (&mut self.0).await.ok()
    }
}

impl<T> Drop for Reading<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Time;

impl Load for Time {
    type Out = Micros;

    async fn load(self, reader: &mut Reader<'_>) -> Result<Micros, StoreError> {
        let rows = reader.query(TIME, params![]).await?;
        let row = rows.into_iter().next().ok_or_else(|| StoreError::Corrupt("it has no clock".to_owned()))?;
        row.columns("the clock").micros()
    }
}

fn away(error: StoreError) -> CommitError {
    match error {
        StoreError::Away { why } | StoreError::Unfit(why) | StoreError::Address(why) => CommitError::Away { why },
        other => CommitError::Away { why: other.to_string() },
    }
}

/// What is told of an error that is nobody's own, before COMMIT took effect.
fn undone(error: DbError) -> CommitError {
    match error {
        DbError::Contended => CommitError::Conflict(Expectation::Contended),
        DbError::Full => CommitError::Full,
        DbError::Busy => CommitError::Busy,
        DbError::Away(why) | DbError::Broken(why) => CommitError::Away { why },
        DbError::Sql(why) => CommitError::Refused(why),
        DbError::Duplicate(what) => CommitError::Refused(format!("another row with the same {what} exists")),
        DbError::Dangling => CommitError::Refused("a row refers to one that does not exist".to_owned()),
    }
}
