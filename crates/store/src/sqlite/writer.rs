//! The one writer. It takes all that waits, writes it in one transaction, syncs once, and only then answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, atomic::AtomicI32};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::connection::db_error;
use super::{Connection, now};
use crate::error::{CommitError, DbError, Failure, Fatal};
use crate::op::{Op, Reply};
use crate::reader::Tx;
use crate::sql::params;
use crate::store::Counters;

/// Commits that share a sync.
const GROUP: usize = 256;
/// How long a group waits, in all, while nobody joins it, and in turns of what length. Alone nobody waits; together all of them wait for one sync instead of
/// one each.
const GATHER: Duration = Duration::from_millis(4);
const SILENCE: Duration = Duration::from_micros(500);
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
            gather(&mut group, &self.counters.coming, jobs);
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
            Err(failure) => failure.of_its_own()?,
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

/// Waits for half of those who are on their way: the other half decides while this one is written. Whoever is alone is served at once, and nobody waits for
/// company that does not come.
fn gather(group: &mut Vec<Job>, coming: &AtomicUsize, jobs: &Receiver<Job>) {
    let mut left = GATHER;
    while group.len() < GROUP && group.len().saturating_mul(2) < coming.load(Ordering::Relaxed) {
        // The clock is no argument here: what is measured is how long nothing came, which the channel does by itself.
        match jobs.recv_timeout(left.min(SILENCE)) {
            Ok(job) => group.push(job),
            Err(RecvTimeoutError::Timeout) => {
                left = left.saturating_sub(SILENCE);
                if left.is_zero() {
                    return;
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
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
mod tests;
