//! The store as the engine sees it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use countersign_core::changes::Timer;
use countersign_core::time::Micros;
use tokio::sync::watch;

use crate::backup::Draft;
use crate::commit::Commit;
use crate::error::{CommitError, Fatal, StoreError};
use crate::op::{Op, Reply};
use crate::postgres::{Postgres, PostgresConfig};
use crate::reader::Load;
use crate::sqlite::Sqlite;
use crate::tables::leases::Fence;
use crate::tables::outbox::Claimed;
use crate::testing::{Fault, FaultPlan};

/// Where the data lies.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StoreConfig {
    /// One file, and one process that uses it.
    Sqlite { path: PathBuf },
    /// A database of a server, which several processes may use.
    Postgres(PostgresConfig),
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
    /// How often the log was moved into the database; PostgreSQL does that by itself and is not counted.
    pub checkpoints: u64,
}

/// [`Stats`] while they are counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// COMMITs that the engine reported: each is one sync of the log.
    pub(crate) transactions: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    /// Verbs that will probably commit soon, see [`Store::announce`].
    pub(crate) coming: AtomicUsize,
}

/// Somebody is deciding what to commit.
#[derive(Debug)]
#[must_use]
pub struct Coming(Arc<Counters>);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.coming.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Inner {
    engine: Engine,
    counters: Arc<Counters>,
    fatal: watch::Sender<Option<Fatal>>,
    /// Rings when a change is announced, here or by another process.
    changed: watch::Sender<()>,
    faults: Option<Arc<FaultPlan>>,
}

enum Engine {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Store {
    /// Opens the database, creates what is missing, and brings its schema up to date.
    pub async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        Self::open_with(config, None).await
    }

    /// Opens a draft of a backup, to be read only.
    pub async fn inspect(draft: &Draft) -> Result<Self, StoreError> {
        let path = draft.path().to_owned();
        let opening = tokio::task::spawn_blocking(move || Sqlite::inspect(&path));
        let engine = Engine::Sqlite(opening.await.map_err(|_| StoreError::Stopped)??);
        Ok(Self {
            inner: Arc::new(Inner {
                engine,
                counters: Arc::default(),
                fatal: watch::Sender::new(None),
                changed: watch::Sender::new(()),
                faults: None,
            }),
        })
    }

    pub(crate) async fn open_with(config: &StoreConfig, faults: Option<Arc<FaultPlan>>) -> Result<Self, StoreError> {
        let counters = Arc::new(Counters::default());
        let fatal = watch::Sender::new(None);
        let changed = watch::Sender::new(());
        let engine = match config {
            StoreConfig::Sqlite { path } => {
                let (path, counters, fatal) = (path.clone(), Arc::clone(&counters), fatal.clone());
                let opening = tokio::task::spawn_blocking(move || Sqlite::open(&path, counters, fatal));
                Engine::Sqlite(opening.await.map_err(|_| StoreError::Stopped)??)
            }
            StoreConfig::Postgres(config) => {
                Engine::Postgres(Postgres::open(config, Arc::clone(&counters), changed.clone()).await?)
            }
        };
        Ok(Self { inner: Arc::new(Inner { engine, counters, fatal, changed, faults }) })
    }

    /// Says that a commit will follow soon, until what is returned is dropped: commits that are on their way share a sync with those that wait already.
    pub fn announce(&self) -> Coming {
        self.inner.counters.coming.fetch_add(1, Ordering::Relaxed);
        Coming(Arc::clone(&self.inner.counters))
    }

    /// Answers a question from one moment of the database, no older than the last commit that was answered.
    pub async fn load<Q: Load>(&self, query: Q) -> Result<Q::Out, StoreError> {
        if self.fault() != Fault::None || self.inner.fatal.borrow().is_some() {
            return Err(StoreError::Stopped);
        }
        let result = match &self.inner.engine {
            Engine::Sqlite(sqlite) => sqlite.load(query).await,
            Engine::Postgres(postgres) => postgres.load(query).await,
        };
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
            Reply::Done | Reply::Timers(_) | Reply::Lease(_) => Err(CommitError::Unknown),
        }
    }

    /// Takes timers that are due; nobody else gets them before `until`, which is when they are due again.
    pub async fn claim_timers(&self, now: Micros, until: Micros, limit: u32) -> Result<Vec<Timer>, CommitError> {
        match self.submit(Op::ClaimTimers { now, until, limit }).await? {
            Reply::Timers(timers) => Ok(timers),
            Reply::Done | Reply::Claimed(_) | Reply::Lease(_) => Err(CommitError::Unknown),
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
            Reply::Done | Reply::Timers(_) | Reply::Claimed(_) => Err(CommitError::Unknown),
        }
    }

    /// What the clock of the database says, for a comparison with one's own. `None` where both are the same.
    pub async fn database_time(&self) -> Result<Option<Micros>, StoreError> {
        match &self.inner.engine {
            Engine::Sqlite(_) => Ok(None),
            Engine::Postgres(postgres) => postgres.time().await.map(Some),
        }
    }

    /// Returns at the next change that any process announces. Only a hint: one that is missed is found by whoever looks again after a while.
    pub async fn wait_changed(&self) {
        // The sender lives as long as this store.
        self.inner.changed.subscribe().changed().await.ok();
    }

    /// Returns when the process must end, because what the disk holds is not known any more. Never on PostgreSQL, where another look tells.
    pub async fn fatal(&self) -> Fatal {
        let mut fatal = self.inner.fatal.subscribe();
        let reason = match fatal.wait_for(Option::is_some).await {
            Ok(reason) => (*reason).clone(),
            Err(_) => None,
        };
        reason.unwrap_or_else(|| Fatal("the database was closed".to_owned()))
    }

    pub fn stats(&self) -> Stats {
        let Counters { transactions, commits, checkpoints, coming: _ } = &*self.inner.counters;
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
        let result = match &self.inner.engine {
            Engine::Sqlite(sqlite) => {
                let announces = op.announces();
                let result = sqlite.submit(op).await;
                if announces && result.is_ok() {
                    self.inner.changed.send_replace(());
                }
                result
            }
            Engine::Postgres(postgres) => postgres.submit(op).await,
        };
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
