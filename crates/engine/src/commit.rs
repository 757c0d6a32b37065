//! The one way into the database, and so into the ledger.

use countersign_core::changes::{Changes, Write};
use countersign_core::decide::Ctx;
use countersign_core::ids::RequestId;
use countersign_keys::random;
use countersign_store::{Change, Commit, CommitError, EntryRow, Expectation, SystemWrite};

use crate::metrics::News;
use crate::{Engine, EngineError};

/// How often a verb decides again before it says that the service is busy. Each time somebody else got ahead, so the queue as a whole moves.
const TRIES: u32 = 200;

/// Counts the attempts of one verb.
#[derive(Debug, Default)]
pub(crate) struct Tries(u32);

impl Tries {
    /// Whether a row that moved is reason enough to decide again.
    pub(crate) async fn again(&mut self, error: &EngineError) -> bool {
        self.0 += 1;
        // Lets the others of this thread finish first.
        tokio::task::yield_now().await;
        matches!(error, EngineError::Moved) && self.0 < TRIES
    }
}

/// Runs an attempt until no row moves under it.
macro_rules! decide_again {
    ($engine:expr, $attempt:expr) => {{
        let _coming = $engine.inner.store.announce();
        let mut tries = $crate::commit::Tries::default();
        loop {
            match $attempt.await {
                Err(error) if tries.again(&error).await => {}
                other => break other,
            }
        }
    }};
}
pub(crate) use decide_again;

impl Engine {
    /// The circumstances of one decision.
    pub(crate) fn ctx(&self) -> Result<Ctx, EngineError> {
        let seed = random::bytes::<32>(self.inner.random.as_ref()).map_err(EngineError::internal)?;
        Ok(Ctx::new(self.now(), seed))
    }

    /// Writes all of it, or nothing. Returns when it is durable.
    pub(crate) async fn commit(&self, changes: Changes) -> Result<(), EngineError> {
        self.commit_with(changes, Vec::new()).await
    }

    pub(crate) async fn commit_with(&self, changes: Changes, system: Vec<SystemWrite>) -> Result<(), EngineError> {
        let Changes { writes, entries } = changes;
        let touched = touched(&writes);
        let news = News::of(&writes, &entries);
        let entries = self.encode(&entries)?;
        let has_entries = !entries.is_empty();
        let commit = Commit { writes, entries, system };
        let changes: Vec<Change> = commit.changes().collect();
        let written = self.inner.store.commit(commit).await;
        // Also what may have been written: memory must not outlive a revocation that nobody is sure of.
        if matches!(written, Ok(()) | Err(CommitError::Unknown)) {
            self.heard_of(&changes);
        }
        if let Err(CommitError::Conflict(_)) = &written {
            self.inner.metrics.conflict();
        }
        if let Err(CommitError::Conflict(Expectation::LogClosed { .. })) = &written {
            // Somebody closed the log. Whoever decided this did so in the epoch before, so nobody tries again in the next one.
            self.look().await?;
        }
        written?;
        if let Err(error) = self.inner.policy.refresh_if_marked(&self.inner.store).await {
            tracing::warn!(%error, "the policy in force could not be read; it is read before it decides");
        }
        self.inner.metrics.committed(&news);
        if has_entries {
            self.inner.committed.notify_one();
        }
        for (request, version) in touched {
            self.inner.wakeups.wake(request, version);
        }
        Ok(())
    }

    fn encode(&self, drafts: &[countersign_core::entry::EntryDraft]) -> Result<Vec<EntryRow>, EngineError> {
        let keys = self.keys();
        drafts.iter().map(|draft| keys.encode(draft)).collect()
    }
}

/// The requests whose waiters want to look again, and the versions that they get.
fn touched(writes: &[Write]) -> Vec<(RequestId, i64)> {
    writes
        .iter()
        .filter_map(|write| match write {
            Write::InsertRequest(request) | Write::UpdateRequest { request, .. } => Some((request.id, request.version)),
            _ => None,
        })
        .collect()
}
