//! Connections that read. A point read takes a few microseconds, less than handing it to another thread would, so it runs where it is asked; what may
//! read much runs on a blocking thread.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Connection, now};
use crate::error::{DbError, StoreError};
use crate::reader::{Load, Reader};
use crate::sql::params;

#[derive(Debug)]
pub(crate) struct Pool {
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

/// A connection until it is given back.
struct Lent {
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(crate) fn new(connections: Vec<Connection>) -> Self {
        let permits = Arc::new(Semaphore::new(connections.len()));
        Self { idle: Arc::new(Mutex::new(connections)), permits }
    }

    pub(crate) async fn load<Q: Load>(&self, query: Q) -> Result<Q::Out, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| StoreError::Stopped)?;
        let connection = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut lent = Lent { connection, idle: Arc::clone(&self.idle), _permit: permit };
        if !Q::HEAVY {
            return lent.load(query).await;
        }
        let read = tokio::task::spawn_blocking(move || now(lent.load(query)));
        read.await.map_err(|_| StoreError::Stopped)?.unwrap_or(Err(StoreError::Stopped))
    }
}

impl Lent {
    async fn load<Q: Load>(&mut self, query: Q) -> Result<Q::Out, StoreError> {
        let connection = self.connection.as_mut().ok_or(StoreError::Stopped)?;
        // One transaction: all statements of a question see the same moment.
        connection.execute("BEGIN", params![])?;
        let result = query.load(&mut Reader::sqlite(connection)).await;
        end(connection)?;
        result
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            // Nothing to be done if this fails: the next `BEGIN` on this connection says so.
            end(&mut connection).ok();
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

fn end(connection: &mut Connection) -> Result<(), DbError> {
    if connection.in_transaction() {
        connection.execute("ROLLBACK", params![])?;
    }
    Ok(())
}
