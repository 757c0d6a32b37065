//! What this process keeps in memory, held against what other processes on the same database changed: credentials, the policy in force, the clock.
//!
//! The `changes` table is read twice a second; a notification only wakes earlier. So a listening connection that is cut costs nothing but that, and whoever
//! has not read the table for two seconds (because the database is away, or hangs, or this process slept) decides nothing by what it remembers: each
//! credential and the policy are read from the database again, before each use.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use countersign_core::time::Micros;
use countersign_store::{Change, ChangeKind, ChangesSince, LastChange, LiveSessions, LiveTokens, Store};
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::identity::Subject;
use crate::{Engine, EngineError};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What was looked at longer ago is not believed.
const BELIEVED_FOR: Duration = Duration::from_secs(2);
const CLOCK_EVERY: Duration = Duration::from_secs(10);
const CHANGES_AT_ONCE: u32 = 1_000;
/// What could not be read ahead is read later.
const FILL_AGAIN: Duration = Duration::from_secs(5);
/// Rows that are read at once when all live credentials are.
const CREDENTIALS_AT_ONCE: u32 = 1_000;

/// How far this process has followed.
pub(crate) struct Following {
    /// The number of the last change that was acted on; whoever holds it is the one who looks.
    after: Mutex<u64>,
    begun: Instant,
    /// When the last look that saw everything began: since `begun`, and by the clock on the wall. A machine that was suspended shows on the second only.
    looked: AtomicU64,
    looked_at: AtomicI64,
    /// The last look found no database.
    away: AtomicBool,
    /// Rung when all live credentials are to be read anew.
    refill: Notify,
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following").field("away", &self.away).finish_non_exhaustive()
    }
}

/// How a process is, from what it keeps in memory: asking costs nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Good,
    DatabaseAway,
    ClockApart {
        ours: Micros,
        theirs: Micros,
    },
    /// Nothing goes on until `countersign restore accept`.
    Restored,
}

impl Following {
    /// To be made before anything is read that is then kept.
    pub(crate) async fn begin(store: &Store, now: Micros) -> Result<Self, EngineError> {
        let begun = Instant::now();
        let after = store.load(LastChange).await?;
        Ok(Self {
            after: Mutex::new(after),
            begun,
            looked: AtomicU64::new(0),
            looked_at: AtomicI64::new(now.as_micros()),
            away: AtomicBool::new(false),
            refill: Notify::new(),
        })
    }

    fn is_believed(&self, now: Micros) -> bool {
        let elapsed = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let since = Duration::from_micros(elapsed.saturating_sub(self.looked.load(Ordering::Relaxed)));
        let on_the_wall = now.since(Micros::from_micros(self.looked_at.load(Ordering::Relaxed)));
        since <= BELIEVED_FOR && on_the_wall <= BELIEVED_FOR
    }

    fn looked(&self, began: Instant, at: Micros) {
        let micros = u64::try_from(began.saturating_duration_since(self.begun).as_micros()).unwrap_or(u64::MAX);
        self.looked.store(micros, Ordering::Relaxed);
        self.looked_at.store(at.as_micros(), Ordering::Relaxed);
    }
}

impl Engine {
    /// Follows what other processes change, and their clock, until told to stop.
    pub async fn run_follower(&self, stop: CancellationToken) {
        tokio::join!(self.keep_looking(&stop), self.keep_filled(&stop), self.keep_comparing_clocks(&stop));
    }

    /// Acts on everything that was changed since the last look, by whichever process.
    pub async fn follow_changes(&self) -> Result<(), EngineError> {
        let following = &self.inner.following;
        let mut after = following.after.lock().await;
        let (began, at) = (Instant::now(), self.now());
        let mut log_moved = false;
        loop {
            let query = ChangesSince { after: *after, limit: CHANGES_AT_ONCE };
            let Some(changes) = self.inner.store.load(query).await? else {
                // Read before everything is forgotten, so that nothing falls in between.
                let last = self.inner.store.load(LastChange).await?;
                tracing::info!("too much has changed to follow it; reading everything anew");
                self.inner.live.mark_everything();
                self.inner.policy.mark();
                following.refill.notify_one();
                log_moved = true;
                *after = last;
                break;
            };
            let all = changes.len() < usize::try_from(CHANGES_AT_ONCE).unwrap_or(usize::MAX);
            let last = changes.last().map_or(*after, |(number, _)| *number);
            let changes: Vec<Change> = changes.into_iter().map(|(_, change)| change).collect();
            // Marked before the number is moved on: whoever is stopped in between looks at them again.
            self.heard_of(&changes);
            log_moved |= changes.iter().any(|change| change.kind == ChangeKind::Log);
            *after = last;
            if all {
                break;
            }
        }
        if log_moved {
            self.look().await?;
        }
        self.inner.policy.refresh_if_marked(&self.inner.store).await?;
        following.looked(began, at);
        Ok(())
    }

    /// How this process is.
    pub fn health(&self) -> Health {
        if self.inner.following.away.load(Ordering::Relaxed) {
            return Health::DatabaseAway;
        }
        if self.is_stopped() {
            return Health::Restored;
        }
        match self.require_clock() {
            Err(EngineError::ClockApart { ours, theirs }) => Health::ClockApart { ours, theirs },
            _ => Health::Good,
        }
    }

    /// Whether what is kept in memory may be believed now.
    pub(crate) fn follows(&self) -> bool {
        self.inner.following.is_believed(self.now())
    }

    /// Refuses at once while the follower finds no database and nothing remembered may be believed any more: whoever asks now would only wait in vain.
    pub(crate) fn require_database(&self) -> Result<(), EngineError> {
        if self.inner.following.away.load(Ordering::Relaxed) && !self.follows() {
            return Err(EngineError::DatabaseAway);
        }
        Ok(())
    }

    /// Takes note of what was changed: by a commit of this process before it is answered, or by another process.
    pub(crate) fn heard_of(&self, changes: &[Change]) {
        for Change { kind, subject } in changes {
            let marked = match kind {
                ChangeKind::Token => subject.parse().map(|id| self.inner.live.mark(Subject::Token(id))),
                ChangeKind::Session => subject.parse().map(|id| self.inner.live.mark(Subject::Session(id))),
                ChangeKind::Account => subject.parse().map(|id| self.inner.live.mark(Subject::Account(id))),
                ChangeKind::Person => subject.parse().map(|id| self.inner.live.mark(Subject::Person(id))),
                ChangeKind::Policy => {
                    self.inner.policy.mark();
                    Ok(())
                }
                // Looked at by whoever follows; a commit of this process that moves the log knows what it did.
                ChangeKind::Log => Ok(()),
            };
            if marked.is_err() {
                // Not one of ours; whatever it was about is looked up again.
                tracing::warn!(?kind, "a change names nothing that there is");
                self.inner.live.mark_everything();
            }
        }
    }

    async fn keep_looking(&self, stop: &CancellationToken) {
        let following = &self.inner.following;
        while !stop.is_cancelled() {
            let looked = self.follow_changes().await;
            let was_away = following.away.swap(looked.is_err(), Ordering::Relaxed);
            match looked {
                Ok(()) if was_away => tracing::info!("the database is back"),
                Ok(()) => {}
                Err(error) if was_away => tracing::debug!(%error, "still no look at the database"),
                Err(error) => tracing::error!(%error, "the database can't be looked at; trying again"),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(LOOK_EVERY) => {}
                () = self.inner.store.wait_changed() => {}
            }
        }
    }

    async fn keep_filled(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => return,
                filled = self.fill() => match filled {
                    Ok(()) => tracing::debug!(known = self.inner.live.len(), "live credentials are in memory"),
                    // Whoever comes is looked up; that is all that is lost.
                    Err(error) => {
                        tracing::warn!(%error, "live credentials could not be read ahead; trying again");
                        tokio::select! {
                            () = stop.cancelled() => return,
                            () = sleep(FILL_AGAIN) => continue,
                        }
                    }
                },
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.inner.following.refill.notified() => {}
            }
        }
    }

    /// Reads all live credentials into memory.
    pub async fn fill(&self) -> Result<(), EngineError> {
        let (now, limit) = (self.now(), CREDENTIALS_AT_ONCE);
        let mut after = None;
        loop {
            let heard = self.inner.live.heard();
            let page = self.inner.store.load(LiveTokens { now, after, limit }).await?;
            let Some(last) = page.last() else { break };
            after = Some((last.token.expires_at, last.token.id));
            for row in page {
                self.inner.live.put_token(row, heard);
            }
            tokio::task::yield_now().await;
        }
        let mut after = None;
        loop {
            let heard = self.inner.live.heard();
            let page = self.inner.store.load(LiveSessions { now, after, limit }).await?;
            let Some(last) = page.last() else { break };
            after = Some((last.session.expires_at, last.session.id));
            for row in page {
                self.inner.live.put_session(row, heard);
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn keep_comparing_clocks(&self, stop: &CancellationToken) {
        let mut tick = interval(CLOCK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = tick.tick() => {
                    if let Err(error @ EngineError::DatabaseAway) = self.compare_clocks().await {
                        tracing::debug!(%error, "the clocks could not be compared");
                    }
                }
            }
        }
    }
}
