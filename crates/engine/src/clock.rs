//! Time, as the engine is given it, and whether it can be relied on: several processes judge the same codes and deadlines, each by its own clock.

use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use countersign_core::time::Micros;
use tokio::time::Instant;

use crate::{Engine, EngineError};

/// An older comparison is made again before anything is decided.
const COMPARED_FOR: Duration = Duration::from_secs(30);

/// What time it is. The binary reads the system's clock; tests set theirs.
pub trait Clock: Send + Sync + Debug {
    fn now(&self) -> Micros;
}

/// The last comparison with the clock of the database.
#[derive(Debug, Default)]
pub(crate) struct Comparison(Mutex<Option<Compared>>);

#[derive(Clone, Copy, Debug)]
enum Compared {
    /// There is nothing to compare with: one machine, one clock.
    Alone,
    With {
        ours: Micros,
        theirs: Micros,
        at: Instant,
    },
}

impl Comparison {
    fn get(&self) -> Option<Compared> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, compared: Compared) -> Option<Compared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(compared)
    }
}

impl Engine {
    /// Compares this clock with the database's, and says so when they come apart or together. [`EngineError::ClockApart`] while they are apart.
    pub async fn compare_clocks(&self) -> Result<(), EngineError> {
        let began = Instant::now();
        let theirs = self.inner.store.database_time().await?;
        let at = Instant::now();
        let compared = match theirs {
            // The answer was true somewhere between question and arrival.
            Some(theirs) => Compared::With { ours: self.now(), theirs: theirs.plus((at - began) / 2), at },
            None => Compared::Alone,
        };
        let before = self.inner.comparison.set(compared);
        let was_apart = before.is_some_and(|before| self.judge_clock(before).is_err());
        let judged = self.judge_clock(compared);
        match &judged {
            Err(error) if !was_apart => tracing::error!(%error, "nothing is asked, answered or released here"),
            Ok(()) if was_apart => tracing::info!("the clocks agree again"),
            _ => {}
        }
        judged
    }

    /// Refuses while the clocks were apart when they were last compared.
    pub(crate) fn require_clock(&self) -> Result<(), EngineError> {
        self.inner.comparison.get().map_or(Ok(()), |compared| self.judge_clock(compared))
    }

    /// The same before something is decided by the time: a comparison that is old, or that the clock has stepped away from, is made again first.
    pub(crate) async fn certain_clock(&self) -> Result<(), EngineError> {
        match self.inner.comparison.get() {
            Some(Compared::Alone) => Ok(()),
            Some(compared @ Compared::With { ours, at, .. }) => {
                let (elapsed, now) = (at.elapsed(), self.now());
                let expected = ours.plus(elapsed);
                let stepped = now.since(expected).max(expected.since(now)) > self.inner.config.clock_tolerance;
                if stepped || elapsed > COMPARED_FOR { self.compare_clocks().await } else { self.judge_clock(compared) }
            }
            None => self.compare_clocks().await,
        }
    }

    /// For what is done by itself and judged by the time: whether it is to wait until the clocks agree, which is in the log already.
    pub(crate) async fn has_other_clock(&self) -> Result<bool, EngineError> {
        match self.certain_clock().await {
            Ok(()) => Ok(false),
            Err(EngineError::ClockApart { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The time by which something has expired: by this clock or, while they are apart, by the later one of both.
    pub(crate) fn latest_now(&self) -> Micros {
        let now = self.now();
        match self.inner.comparison.get() {
            Some(compared @ Compared::With { ours, theirs, .. }) if self.judge_clock(compared).is_err() => {
                now.max(now.plus(theirs.since(ours)))
            }
            _ => now,
        }
    }

    fn judge_clock(&self, compared: Compared) -> Result<(), EngineError> {
        match compared {
            Compared::With { ours, theirs, .. }
                if ours.since(theirs).max(theirs.since(ours)) > self.inner.config.clock_tolerance =>
            {
                Err(EngineError::ClockApart { ours, theirs })
            }
            _ => Ok(()),
        }
    }
}
