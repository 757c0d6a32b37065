//! The one writer. It takes all that waits, writes it in one transaction, syncs once, and only then answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, atomic::AtomicI32};
use std::time::Duration;

use countersign_core::time::Micros;
use tokio::sync::{oneshot, watch};

use super::connection::db_error;
use super::{Connection, now};
use crate::commit::Item;
use crate::error::{CommitError, DbError, Failure, Fatal};
use crate::reader::Tx;
use crate::sql::params;
use crate::tables::leases::{self, Fence};
use crate::tables::outbox::{self, Claimed};

/// Commits that share a sync.
const GROUP: usize = 256;
/// With nothing to do for this long, the writer moves its log into the database file.
const IDLE: Duration = Duration::from_millis(500);
/// Pages in the log (of 4 KiB) after which it does so under load too, and after which it waits for readers to let it start its log anew.
const LONG: i32 = 2_000;
const TOO_LONG: i32 = 16_000;

/// Something to write, and who waits for the answer.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) op: Op,
    pub(crate) answer: oneshot::Sender<Result<Reply, CommitError>>,
}

#[derive(Debug)]
pub(crate) enum Op {
    Commit(Vec<Item>),
    ClaimOutbox { owner: String, now: Micros, until: Micros, limit: u32 },
    AcquireLease { name: String, owner: String, now: Micros, until: Micros },
}

#[derive(Debug)]
pub(crate) enum Reply {
    Done,
    Claimed(Vec<Claimed>),
    Lease(Option<Fence>),
}

/// What was done since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// COMMITs, as SQLite itself reports them: each is one sync of the log.
    pub(crate) transactions: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Writer {
    connection: Connection,
    counters: Arc<Counters>,
    fatal: watch::Sender<Option<Fatal>>,
    /// Length of the log, told by SQLite after each commit.
    pages: Arc<AtomicI32>,
    /// The length at which the log was last moved without being emptied.
    moved_at: i32,
}

/// What became of a group.
enum Fate {
    /// Each got its own answer and the transaction stands.
    Written(Vec<Result<Reply, CommitError>>),
    /// Nothing of it was written.
    Undone(CommitError),
    /// Nobody knows.
    Lost(String),
}

impl Writer {
    pub(crate) fn new(
        mut connection: Connection,
        counters: Arc<Counters>,
        fatal: watch::Sender<Option<Fatal>>,
    ) -> rusqlite::Result<Self> {
        let pages = Arc::new(AtomicI32::new(0));
        let commits = Arc::clone(&counters);
        connection.inner().commit_hook(Some(move || {
            commits.transactions.fetch_add(1, Ordering::Relaxed);
            false
        }))?;
        let seen = Arc::clone(&pages);
        // Also switches off SQLite's own checkpoints, which would run inside somebody's commit.
        connection.inner().wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, length| {
            seen.store(length, Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { connection, counters, fatal, pages, moved_at: 0 })
    }

    /// Works until the last sender is gone.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        // A panic below drops the senders of the group, whose waiters learn "unknown"; everybody else learns it from this.
        let dead_man = DeadMan(self.fatal.clone());
        loop {
            let first = if self.pages.load(Ordering::Relaxed) > 0 {
                match jobs.recv_timeout(IDLE) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Timeout) => {
                        self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)");
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            } else {
                match jobs.recv() {
                    Ok(job) => job,
                    Err(_) => break,
                }
            };
            let mut group = vec![first];
            group.extend(jobs.try_iter().take(GROUP - 1));
            self.serve(group);
            let pages = self.pages.load(Ordering::Relaxed);
            if pages > TOO_LONG {
                self.checkpoint("PRAGMA wal_checkpoint(RESTART)");
            } else if pages > self.moved_at.saturating_add(LONG) {
                self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)");
            }
        }
        drop(dead_man);
    }

    fn serve(&mut self, group: Vec<Job>) {
        let (ops, waiting): (Vec<_>, Vec<_>) = group.into_iter().map(|job| (job.op, job.answer)).unzip();
        let fate = if self.fatal.borrow().is_some() { Fate::Lost(String::new()) } else { self.write(&ops) };
        match fate {
            Fate::Written(answers) => {
                let written = answers.iter().filter(|answer| answer.is_ok()).count();
                self.counters.commits.fetch_add(u64::try_from(written).unwrap_or(0), Ordering::Relaxed);
                for (waiter, answer) in waiting.into_iter().zip(answers) {
                    // Whoever stopped waiting finds the truth in the database.
                    waiter.send(answer).ok();
                }
            }
            Fate::Undone(error) => {
                for waiter in waiting {
                    waiter.send(Err(error.clone())).ok();
                }
            }
            Fate::Lost(why) => {
                self.stop(why);
                for waiter in waiting {
                    waiter.send(Err(CommitError::Unknown)).ok();
                }
            }
        }
    }

    /// All of the group in one transaction. Nothing is known to be written until the last line.
    fn write(&mut self, ops: &[Op]) -> Fate {
        if let Err(error) = self.connection.execute("BEGIN IMMEDIATE", params![]) {
            return self.undo(error);
        }
        let mut answers = Vec::with_capacity(ops.len());
        for op in ops {
            match self.write_one(op) {
                Ok(answer) => answers.push(answer),
                Err(error) => return self.undo(error),
            }
        }
        if answers.iter().all(Result::is_err) {
            // No sync for a group of which nothing stands.
            return match self.connection.execute("ROLLBACK", params![]) {
                Ok(_) => Fate::Written(answers),
                Err(error) => Fate::Lost(format!("a rollback failed: {error:?}")),
            };
        }
        match self.connection.execute("COMMIT", params![]) {
            Ok(_) => Fate::Written(answers),
            Err(error) => self.undo(error),
        }
    }

    /// One commit in its savepoint. The outer error ends the whole group.
    fn write_one(&mut self, op: &Op) -> Result<Result<Reply, CommitError>, DbError> {
        self.connection.execute("SAVEPOINT one", params![])?;
        let result = now(op.apply(&mut Tx::sqlite(&mut self.connection)))
            .unwrap_or_else(|| Err(Failure::Refused("a statement waited".to_owned())));
        let error = match result {
            Ok(reply) => {
                self.connection.execute("RELEASE one", params![])?;
                return Ok(Ok(reply));
            }
            Err(Failure::Unmet(expectation)) => CommitError::Conflict(expectation),
            Err(Failure::Refused(why) | Failure::Db(DbError::Sql(why))) => CommitError::Refused(why),
            Err(Failure::Db(DbError::Duplicate(what))) => {
                CommitError::Refused(format!("another row with the same {what} exists"))
            }
            Err(Failure::Db(DbError::Dangling)) => {
                CommitError::Refused("a row refers to one that does not exist".to_owned())
            }
            Err(Failure::Db(error)) => return Err(error),
        };
        self.connection.execute("ROLLBACK TO one", params![])?;
        self.connection.execute("RELEASE one", params![])?;
        Ok(Err(error))
    }

    /// Takes the whole group back after an error that is nobody's own.
    fn undo(&mut self, error: DbError) -> Fate {
        let error = match error {
            DbError::Full => CommitError::Full,
            DbError::Busy => CommitError::Busy,
            DbError::Broken(why) => return Fate::Lost(why),
            other => return Fate::Lost(format!("{other:?}")),
        };
        // SQLite has rolled back already after some errors.
        if self.connection.in_transaction()
            && let Err(error) = self.connection.execute("ROLLBACK", params![])
        {
            return Fate::Lost(format!("a rollback failed: {error:?}"));
        }
        Fate::Undone(error)
    }

    /// Moves the log into the database file, as far as readers allow. Full disks and readers are no errors: the log just stays longer.
    fn checkpoint(&mut self, pragma: &str) {
        if self.fatal.borrow().is_some() {
            self.pages.store(0, Ordering::Relaxed);
            return;
        }
        let moved =
            self.connection.inner().query_row(pragma, [], |row| Ok((row.get::<_, i32>(1)?, row.get::<_, i32>(2)?)));
        match moved {
            Ok((length, moved)) => {
                self.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
                let all = moved >= length;
                self.pages.store(if all { 0 } else { length }, Ordering::Relaxed);
                self.moved_at = if all { 0 } else { length };
            }
            Err(error) => match db_error(&error) {
                DbError::Full | DbError::Busy => tracing::warn!(%error, "the database's log could not be moved yet"),
                _ => self.stop(error.to_string()),
            },
        }
    }

    /// From here on nothing is written: whoever asks again must ask a process that read the disk anew.
    fn stop(&self, why: String) {
        self.fatal.send_if_modified(|fatal| {
            let first = fatal.is_none();
            if first {
                tracing::error!(%why, "the database stopped");
                *fatal = Some(Fatal(why));
            }
            first
        });
    }
}

impl Op {
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Reply, Failure> {
        match self {
            Self::Commit(items) => {
                for item in items {
                    item.apply(tx).await?;
                }
                Ok(Reply::Done)
            }
            Self::ClaimOutbox { owner, now, until, limit } => {
                outbox::claim(tx, owner, *now, *until, *limit).await.map(Reply::Claimed)
            }
            Self::AcquireLease { name, owner, now, until } => {
                leases::acquire(tx, name, owner, *now, *until).await.map(Reply::Lease)
            }
        }
    }
}

/// Tells of the writer's death if it is dropped by a panic.
struct DeadMan(watch::Sender<Option<Fatal>>);

impl Drop for DeadMan {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.send_if_modified(|fatal| {
                fatal.get_or_insert_with(|| Fatal("the database's writer panicked".to_owned()));
                true
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::{Commit, SystemWrite};
    use crate::error::Expectation;
    use crate::tables::meta::MetaExpectation;
    use std::sync::mpsc::channel;

    type Answer = oneshot::Receiver<Result<Reply, CommitError>>;

    struct Bench {
        writer: Writer,
        fatal: watch::Receiver<Option<Fatal>>,
        counters: Arc<Counters>,
        path: std::path::PathBuf,
        _lock: std::fs::File,
        _folder: tempfile::TempDir,
    }

    fn bench() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let opened = crate::sqlite::open(&path, 0).unwrap();
        let counters = Arc::new(Counters::default());
        let (sender, fatal) = watch::channel(None);
        let writer = Writer::new(opened.writer, Arc::clone(&counters), sender).unwrap();
        Bench { writer, fatal, counters, path, _lock: opened.lock, _folder: folder }
    }

    fn put(key: &str, value: &[u8], expect: MetaExpectation) -> Op {
        let write = SystemWrite::PutMeta { key: key.to_owned(), value: value.to_vec(), expect };
        Op::Commit(Commit::from(vec![write]).ordered())
    }

    fn job(op: Op) -> (Job, Answer) {
        let (answer, receiver) = oneshot::channel();
        (Job { op, answer }, receiver)
    }

    fn outcome(answer: &mut Answer) -> Result<(), CommitError> {
        answer.try_recv().unwrap().map(drop)
    }

    fn serve(writer: &mut Writer, ops: Vec<Op>) -> Vec<Result<(), CommitError>> {
        let (jobs, mut answers): (Vec<_>, Vec<_>) = ops.into_iter().map(job).unzip();
        writer.serve(jobs);
        answers.iter_mut().map(outcome).collect()
    }

    fn keys(path: &std::path::Path) -> Vec<String> {
        let connection = rusqlite::Connection::open(path).unwrap();
        let mut statement = connection.prepare("SELECT name FROM meta ORDER BY name").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn what_waits_shares_a_transaction() {
        for (waiting, transactions) in [(1, 1), (64, 1), (256, 1), (600, 3)] {
            let Bench { writer, counters, path, _lock, _folder, .. } = bench();
            let (sender, queue) = channel();
            let mut answers = Vec::new();
            for number in 0..waiting {
                let (job, answer) = job(put(&format!("k{number}"), b"v", MetaExpectation::Absent));
                sender.send(job).unwrap();
                answers.push(answer);
            }
            drop(sender);
            writer.run(&queue);
            assert!(answers.iter_mut().all(|answer| outcome(answer).is_ok()));
            assert_eq!(counters.transactions.load(Ordering::Relaxed), transactions, "{waiting} commits");
            assert_eq!(counters.commits.load(Ordering::Relaxed), waiting);
            assert_eq!(keys(&path).len(), usize::try_from(waiting).unwrap());
        }
    }

    #[test]
    fn a_failed_expectation_takes_back_its_own_commit_and_no_other() {
        let mut bench = bench();
        let both = Commit::from(vec![
            SystemWrite::PutMeta { key: "a-of-loser".to_owned(), value: vec![1], expect: MetaExpectation::Any },
            SystemWrite::PutMeta { key: "first".to_owned(), value: vec![1], expect: MetaExpectation::Absent },
        ]);
        let answers = serve(
            &mut bench.writer,
            vec![
                put("first", b"1", MetaExpectation::Absent),
                Op::Commit(both.ordered()),
                put("last", b"1", MetaExpectation::Absent),
            ],
        );
        let conflict = CommitError::Conflict(Expectation::MetaMoved { key: "first".to_owned() });
        assert_eq!(answers, [Ok(()), Err(conflict), Ok(())]);
        assert_eq!(keys(&bench.path), ["first", "last"]);
        assert_eq!(bench.counters.transactions.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_group_of_which_nothing_stands_costs_no_sync() {
        let mut bench = bench();
        let answers = serve(&mut bench.writer, vec![put("x", b"1", MetaExpectation::Is(b"0".to_vec()))]);
        assert!(matches!(answers.as_slice(), [Err(CommitError::Conflict(_))]));
        assert_eq!(bench.counters.transactions.load(Ordering::Relaxed), 0);
        assert!(!bench.writer.connection.in_transaction());
    }

    #[test]
    fn a_full_disk_loses_nothing_and_service_resumes() {
        let mut bench = bench();
        assert_eq!(serve(&mut bench.writer, vec![put("before", b"1", MetaExpectation::Any)]), [Ok(())]);
        let pages: i64 = bench.writer.connection.inner().query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        let limit = |bench: &mut Bench, pages: i64| {
            let pragma = format!("PRAGMA max_page_count = {pages}");
            bench.writer.connection.inner().query_row(&pragma, [], |_| Ok(())).unwrap();
        };
        limit(&mut bench, pages);
        let large = vec![7; 100_000];
        let answers = serve(
            &mut bench.writer,
            vec![put("small", b"1", MetaExpectation::Any), put("large", &large, MetaExpectation::Any)],
        );
        assert_eq!(answers, [Err(CommitError::Full), Err(CommitError::Full)]);
        assert_eq!(keys(&bench.path), ["before"]);
        limit(&mut bench, pages + 1_000);
        assert_eq!(serve(&mut bench.writer, vec![put("large", &large, MetaExpectation::Any)]), [Ok(())]);
        assert_eq!(keys(&bench.path), ["before", "large"]);
        assert!(bench.fatal.borrow().is_none());
    }

    #[test]
    fn a_broken_disk_is_final() {
        let mut bench = bench();
        // SQLite reports this as it reports a file system that was remounted read-only after an error.
        bench.writer.connection.inner().execute_batch("PRAGMA query_only = ON").unwrap();
        let answers = serve(&mut bench.writer, vec![put("x", b"1", MetaExpectation::Any)]);
        assert_eq!(answers, [Err(CommitError::Unknown)]);
        assert!(bench.fatal.borrow().is_some());
        bench.writer.connection.inner().execute_batch("PRAGMA query_only = OFF").unwrap();
        let answers = serve(&mut bench.writer, vec![put("x", b"1", MetaExpectation::Any)]);
        assert_eq!(answers, [Err(CommitError::Unknown)], "never tried again");
        assert_eq!(keys(&bench.path), [""; 0]);
    }

    #[test]
    fn the_log_is_moved_when_it_is_long() {
        let Bench { writer, counters, _lock, _folder, .. } = bench();
        let (sender, queue) = channel();
        let large = vec![7; 60_000];
        let mut answers = Vec::new();
        for number in 0..600 {
            let (job, answer) = job(put(&format!("k{number}"), &large, MetaExpectation::Any));
            sender.send(job).unwrap();
            answers.push(answer);
        }
        drop(sender);
        writer.run(&queue);
        assert!(counters.checkpoints.load(Ordering::Relaxed) >= 1);
    }
}
