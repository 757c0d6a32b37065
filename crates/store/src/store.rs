//! The store as the engine sees it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use countersign_core::time::Micros;
use tokio::sync::{oneshot, watch};

use crate::commit::Commit;
use crate::error::{CommitError, Fatal, StoreError};
use crate::reader::Load;
use crate::sqlite::{self, Counters, Job, Op, Pool, Reply, Writer};
use crate::tables::leases::Fence;
use crate::tables::outbox::Claimed;
use crate::testing::{Fault, FaultPlan};

/// Connections that read at the same time.
const READERS: usize = 4;

/// Where the data lies.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreConfig {
    /// One file, and one process that uses it.
    Sqlite { path: PathBuf },
}

/// The database. Clones share it; the last one that is dropped finishes what was committed and closes it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// What was done since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Transactions that wrote. Each cost one sync.
    pub transactions: u64,
    /// Commits that were answered with success.
    pub commits: u64,
    /// How often the log was moved into the database.
    pub checkpoints: u64,
}

struct Inner {
    /// `None` while closing.
    jobs: Option<Sender<Job>>,
    pool: Option<Pool>,
    writer: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
    fatal: watch::Sender<Option<Fatal>>,
    faults: Option<Arc<FaultPlan>>,
    /// Held until everything else is closed.
    lock: Option<std::fs::File>,
}

impl Store {
    /// Opens the database, creates it if there is none, and brings its schema up to date. Blocks.
    pub fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        Self::open_with(config, None)
    }

    pub(crate) fn open_with(config: &StoreConfig, faults: Option<Arc<FaultPlan>>) -> Result<Self, StoreError> {
        let StoreConfig::Sqlite { path } = config;
        let sqlite::Opened { writer, readers, lock } = sqlite::open(path, READERS)?;
        let counters = Arc::new(Counters::default());
        let fatal = watch::Sender::new(None);
        let writer = Writer::new(writer, Arc::clone(&counters), fatal.clone())
            .map_err(|error| StoreError::Sql(error.to_string()))?;
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(|error| StoreError::Io(error.to_string()))?;
        let inner = Inner {
            jobs: Some(jobs),
            pool: Some(Pool::new(readers)),
            writer: Some(thread),
            counters,
            fatal,
            faults,
            lock: Some(lock),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Answers a question from one moment of the database, no older than the last commit that was answered.
    pub async fn load<Q: Load>(&self, query: Q) -> Result<Q::Out, StoreError> {
        if self.fault() != Fault::None || self.inner.fatal.borrow().is_some() {
            return Err(StoreError::Stopped);
        }
        let pool = self.inner.pool.as_ref().ok_or(StoreError::Stopped)?;
        let result = pool.load(query).await;
        if let Err(StoreError::Io(why)) = &result {
            self.inner.fatal.send_replace(Some(Fatal(why.clone())));
        }
        result
    }

    /// Writes all of it or nothing. It is on disk when this returns `Ok`. A caller that stops waiting does not take it back.
    pub async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        if commit.is_empty() {
            return Ok(());
        }
        self.submit(Op::Commit(commit.ordered())).await.map(drop)
    }

    /// Takes messages that are due, the oldest first; nobody else gets them before `until`.
    pub async fn claim_outbox(
        &self,
        owner: &str,
        now: Micros,
        until: Micros,
        limit: u32,
    ) -> Result<Vec<Claimed>, CommitError> {
        match self.submit(Op::ClaimOutbox { owner: owner.to_owned(), now, until, limit }).await? {
            Reply::Claimed(claimed) => Ok(claimed),
            Reply::Done | Reply::Lease(_) => Err(CommitError::Unknown),
        }
    }

    /// Takes or renews a lease. `None` while another owner holds it.
    pub async fn acquire_lease(
        &self,
        name: &str,
        owner: &str,
        now: Micros,
        until: Micros,
    ) -> Result<Option<Fence>, CommitError> {
        match self.submit(Op::AcquireLease { name: name.to_owned(), owner: owner.to_owned(), now, until }).await? {
            Reply::Lease(fence) => Ok(fence),
            Reply::Done | Reply::Claimed(_) => Err(CommitError::Unknown),
        }
    }

    /// Returns when the process must end, because what the disk holds is not known any more.
    pub async fn fatal(&self) -> Fatal {
        let mut fatal = self.inner.fatal.subscribe();
        let reason = match fatal.wait_for(Option::is_some).await {
            Ok(reason) => (*reason).clone(),
            Err(_) => None,
        };
        reason.unwrap_or_else(|| Fatal("the database was closed".to_owned()))
    }

    pub fn stats(&self) -> Stats {
        let Counters { transactions, commits, checkpoints } = &*self.inner.counters;
        Stats {
            transactions: transactions.load(Ordering::Relaxed),
            commits: commits.load(Ordering::Relaxed),
            checkpoints: checkpoints.load(Ordering::Relaxed),
        }
    }

    async fn submit(&self, op: Op) -> Result<Reply, CommitError> {
        let fault = self.fault();
        if fault == Fault::Before {
            return Err(CommitError::Unknown);
        }
        let (answer, reply) = oneshot::channel();
        let sent = self.inner.jobs.as_ref().is_some_and(|jobs| jobs.send(Job { op, answer }).is_ok());
        if !sent {
            return Err(CommitError::Unknown);
        }
        let result = reply.await.unwrap_or(Err(CommitError::Unknown));
        if fault == Fault::After { Err(CommitError::Unknown) } else { result }
    }

    fn fault(&self) -> Fault {
        self.inner.faults.as_ref().map_or(Fault::None, |plan| plan.next())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Readers first: the connection that closes last moves the log into the database.
        self.pool = None;
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has been told by `fatal`.
            writer.join().ok();
        }
        self.lock = None;
    }
}
