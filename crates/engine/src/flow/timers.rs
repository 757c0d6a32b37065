//! What time does by itself: deadlines, the end of grants, leases that were not renewed. Timers are rows; the commit that acts on one removes it.

use std::time::Duration;

use countersign_core::changes::{Changes, Timer, TimerKind, Write};
use countersign_core::decide::{self, Step};
use countersign_core::ids::{ReleaseId, RequestId};
use countersign_core::release::ReleaseError;
use countersign_core::request::TransitionError;
use countersign_store::{Commit, NextTimer, ReleaseWithRequest, RequestById, SystemWrite};
use tokio_util::sync::CancellationToken;

use crate::commit::decide_again;
use crate::{Engine, EngineError};

const TICK: Duration = Duration::from_millis(250);
const BATCH: u32 = 256;
/// A timer that was taken by a process that then died is due again after this long.
const CLAIM: Duration = Duration::from_secs(10);
/// What is stored for a while only is swept out this often.
const SWEEP_EVERY: Duration = Duration::from_mins(10);

impl Engine {
    /// Acts on due timers until told to stop.
    pub async fn run_timers(&self, stop: CancellationToken) {
        let mut swept = self.now();
        while !stop.is_cancelled() {
            if let Err(error) = self.fire_due().await {
                tracing::error!(%error, "timers could not be read; trying again");
            }
            if self.now().since(swept) >= SWEEP_EVERY {
                swept = self.now();
                if let Err(error) = self.sweep().await {
                    tracing::error!(%error, "what has expired could not be swept out; trying again");
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Acts on everything that is due now. Returns how many timers were acted on.
    pub async fn fire_due(&self) -> Result<usize, EngineError> {
        if self.is_stopped() {
            return Ok(0);
        }
        // A clock that runs ahead would end what others still may use.
        if self.has_other_clock().await? {
            return Ok(0);
        }
        let now = self.now();
        // A claim writes, so nothing is claimed while nothing is due.
        if self.inner.store.load(NextTimer).await?.is_none_or(|due| due > now) {
            return Ok(0);
        }
        let due = self.inner.store.claim_timers(now, now.plus(CLAIM), BATCH).await?;
        let mut fired = 0;
        for timer in due {
            match decide_again!(self, self.fire(&timer)) {
                Ok(()) => fired += 1,
                // One timer that can't be acted on must not keep the others from their turn.
                Err(error) => {
                    tracing::error!(%error, kind = timer.kind.as_str(), subject = timer.subject, "a timer failed");
                }
            }
        }
        Ok(fired)
    }

    /// Removes used idempotency keys, ended sessions and the counters of strangers who stayed away.
    pub async fn sweep(&self) -> Result<(), EngineError> {
        if self.has_other_clock().await? {
            return Ok(());
        }
        let now = self.now();
        self.inner.live.sweep(now);
        let commit = Commit::from(vec![SystemWrite::PurgeExpired { now }]);
        Ok(self.inner.store.commit(commit).await?)
    }

    async fn fire(&self, timer: &Timer) -> Result<(), EngineError> {
        let mut ctx = self.ctx()?;
        let step = match timer.kind {
            TimerKind::RequestDeadline => {
                let request = self.inner.store.load(RequestById(id(timer)?)).await?;
                request.map(|request| settled(decide::expire(request, &mut ctx))).transpose()?
            }
            TimerKind::GrantEnd => {
                let request = self.inner.store.load(RequestById(id(timer)?)).await?;
                request.map(|request| settled(decide::end_grant(request, &mut ctx))).transpose()?
            }
            TimerKind::Erasure => return self.go_on_erasing(timer).await,
            TimerKind::ReleaseLease => {
                let subject: ReleaseId = timer.subject.parse().map_err(EngineError::internal)?;
                match self.inner.store.load(ReleaseWithRequest(subject)).await? {
                    Some((release, request)) => match decide::doubt(request, release, &mut ctx) {
                        Ok((step, _)) => Some(Settled::Step(Box::new(step))),
                        Err(ReleaseError::StillLeased) => Some(Settled::NotDue),
                        Err(ReleaseError::Over | ReleaseError::NotOwner) => None,
                    },
                    None => None,
                }
            }
        };
        match step {
            Some(Settled::NotDue) => Ok(()),
            Some(Settled::Step(step)) => self.commit(step.finish().1).await,
            // What it was about is over already: only the row is left to remove.
            Some(Settled::Over) | None => {
                let write = Write::ClearTimer { kind: timer.kind, subject: timer.subject.clone() };
                self.commit(Changes { writes: vec![write], entries: Vec::new() }).await
            }
        }
    }
}

/// What a due timer leads to.
enum Settled {
    Step(Box<Step>),
    NotDue,
    Over,
}

fn settled(result: Result<Step, TransitionError>) -> Result<Settled, EngineError> {
    match result {
        Ok(step) => Ok(Settled::Step(Box::new(step))),
        Err(TransitionError::NotDue) => Ok(Settled::NotDue),
        Err(TransitionError::Over(_) | TransitionError::NotGranted) => Ok(Settled::Over),
        Err(error @ TransitionError::Grant(_)) => Err(error.into()),
    }
}

fn id(timer: &Timer) -> Result<RequestId, EngineError> {
    timer.subject.parse().map_err(EngineError::internal)
}
