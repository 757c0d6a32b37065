//! Connections that nobody uses, and how to get one.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::config::PostgresConfig;
use super::connect::connect;
use super::connection::{Connection, PATIENCE};
use crate::error::{DbError, StoreError};

/// Connections of one process. Each is a process of the server, which by default takes a hundred from all of its clients.
const CONNECTIONS: usize = 16;

#[derive(Debug)]
pub(super) struct Pool {
    pub(super) config: PostgresConfig,
    runtime: Handle,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

/// A connection until it is given back.
#[derive(Debug)]
pub(super) struct Lent {
    /// `None` only while it is given back.
    connection: Option<Connection>,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(config: PostgresConfig, runtime: Handle) -> Self {
        Self { config, runtime, idle: Mutex::default(), permits: Arc::new(Semaphore::new(CONNECTIONS)) }
    }

    /// A connection that is alive as far as this side knows.
    pub(super) async fn lend(self: &Arc<Self>) -> Result<Lent, StoreError> {
        let permit = timeout(PATIENCE, Arc::clone(&self.permits).acquire_owned()).await;
        let busy = || StoreError::Away { why: format!("all {CONNECTIONS} connections to it are busy") };
        let permit = permit.map_err(|_| busy())?.map_err(|_| StoreError::Stopped)?;
        let connection = match self.take() {
            Some(connection) => connection,
            None => Connection::new(connect(&self.config, &self.runtime, || None).await?.client),
        };
        Ok(Lent { connection: Some(connection), pool: Arc::clone(self), _permit: permit })
    }

    /// Forgets all idle connections: one did not answer, so the others reach the same dead server.
    fn forget(&self) {
        self.idle().clear();
    }

    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle();
        while let Some(connection) = idle.pop() {
            if connection.is_alive() {
                return Some(connection);
            }
        }
        None
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent {
    pub(super) fn connection(&mut self) -> Result<&mut Connection, DbError> {
        self.connection.as_mut().ok_or_else(|| DbError::Away("the connection was given back".to_owned()))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.rollback();
            if connection.is_alive() {
                self.pool.idle().push(connection);
            } else {
                self.pool.forget();
            }
        }
    }
}
