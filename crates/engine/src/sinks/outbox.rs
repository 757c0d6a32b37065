//! Where messages go after the commit that made them. At least once: a message leaves the outbox only after its sink took it.

use std::time::Duration;

use countersign_store::{Commit, SystemWrite};
use tokio_util::sync::CancellationToken;

use crate::{Engine, EngineError};

const TICK: Duration = Duration::from_millis(500);
const CLAIM: Duration = Duration::from_secs(30);
const BATCH: u32 = 64;

impl Engine {
    /// Delivers messages until told to stop.
    pub async fn run_outbox(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.deliver_due().await {
                tracing::error!(%error, "messages could not be delivered; trying again");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Delivers everything that is due now, and says how much that was. The one sink so far is the service's own log; a message holds no secret.
    pub async fn deliver_due(&self) -> Result<usize, EngineError> {
        if self.is_stopped() || self.has_other_clock().await? {
            return Ok(0);
        }
        let now = self.now();
        let owner = &self.inner.config.node;
        let claimed = self.inner.store.claim_outbox(owner, now, now.plus(CLAIM), BATCH).await?;
        let count = claimed.len();
        let mut done = Vec::with_capacity(count);
        for claim in claimed {
            tracing::info!(topic = claim.message.topic, payload = claim.message.payload, "notice");
            done.push(SystemWrite::FinishOutbox { id: claim.message.id, owner: owner.clone() });
        }
        if !done.is_empty() {
            self.inner.store.commit(Commit::from(done)).await?;
        }
        Ok(count)
    }
}
