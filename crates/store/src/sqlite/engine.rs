//! The file, its writer and its readers.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};

use super::{Job, Opened, Pool, Writer};
use crate::error::{CommitError, Fatal, StoreError};
use crate::op::{Op, Reply};
use crate::reader::Load;
use crate::store::Counters;

/// Connections that read at the same time.
const READERS: usize = 4;

/// An open database. Dropping it finishes what was committed and closes it.
#[derive(Debug)]
pub(crate) struct Sqlite {
    /// `None` while closing.
    jobs: Option<Sender<Job>>,
    pool: Option<Pool>,
    writer: Option<JoinHandle<()>>,
    /// Held until everything else is closed.
    lock: Option<std::fs::File>,
}

impl Sqlite {
    /// Blocks.
    pub(crate) fn open(
        path: &Path,
        counters: Arc<Counters>,
        fatal: watch::Sender<Option<Fatal>>,
    ) -> Result<Self, StoreError> {
        let Opened { writer, readers, lock } = super::open(path, READERS)?;
        let writer = Writer::new(writer, counters, fatal).map_err(|error| StoreError::Sql(error.to_string()))?;
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(|error| StoreError::Io(error.to_string()))?;
        Ok(Self { jobs: Some(jobs), pool: Some(Pool::new(readers)), writer: Some(thread), lock: Some(lock) })
    }

    /// Opens a file that nobody writes to, to read it as it is. Blocks.
    pub(crate) fn inspect(path: &Path) -> Result<Self, StoreError> {
        let readers = (0..READERS).map(|_| super::Connection::reader(path)).collect::<Result<Vec<_>, _>>();
        let readers = readers.map_err(|error| super::opening(path, &error))?;
        Ok(Self { jobs: None, pool: Some(Pool::new(readers)), writer: None, lock: None })
    }

    pub(crate) async fn load<Q: Load>(&self, query: Q) -> Result<Q::Out, StoreError> {
        self.pool.as_ref().ok_or(StoreError::Stopped)?.load(query).await
    }

    pub(crate) async fn submit(&self, op: Op) -> Result<Reply, CommitError> {
        let (answer, reply) = oneshot::channel();
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(Job { op, answer }).is_ok());
        if !sent {
            return Err(CommitError::Unknown);
        }
        reply.await.unwrap_or(Err(CommitError::Unknown))
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        // Readers first: the connection that closes last moves the log into the database.
        self.pool = None;
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has been told by `fatal`.
            writer.join().ok();
        }
        if let Some(lock) = self.lock.take() {
            // Closing it would not do: a program that this process is just starting has a copy for a moment.
            lock.unlock().ok();
        }
    }
}
