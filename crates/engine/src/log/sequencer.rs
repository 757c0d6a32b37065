//! One sequencer gives committed entries their place in the tree and signs what is durable. A lease decides which node it is; a fence keeps a node that
//! lost it from writing on.

use std::time::Duration;

use countersign_ledger::{Checkpoint, Frontier, TileMap, TreeHead, leaf_hash};
use countersign_store::{
    CheckpointRow, Commit, CommitError, Expectation, Integration, SystemWrite, Tiles, UnsequencedEntries,
};
use tokio_util::sync::CancellationToken;

use crate::{Engine, EngineError};

const LEASE_NAME: &str = "sequencer";
const LEASE: Duration = Duration::from_secs(10);
/// Entries wait this long for company: one integration for all of them costs as much as for one.
const GATHER: Duration = Duration::from_millis(100);
/// What another node committed is noticed after this long at the latest.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
const BATCH: u32 = 2_048;

impl Engine {
    /// Integrates and signs until told to stop; what is committed by then is integrated first.
    pub async fn run_sequencer(&self, stop: CancellationToken) {
        loop {
            let last = stop.is_cancelled();
            if let Err(error) = self.sequence().await {
                tracing::error!(%error, "the ledger could not be extended; trying again");
            }
            if last {
                self.let_go().await;
                return;
            }
            tokio::select! {
                () = stop.cancelled() => continue,
                () = self.inner.committed.notified() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(GATHER) => {}
            }
        }
    }

    /// Another process need not wait for the end of the lease of one that stops.
    async fn let_go(&self) {
        let lease = SystemWrite::ReleaseLease { name: LEASE_NAME.to_owned(), owner: self.inner.config.node.clone() };
        if let Err(error) = self.inner.store.commit(Commit::from(vec![lease])).await {
            tracing::warn!(%error, "the sequencer's lease could not be let go; it ends by itself");
        }
    }

    /// Integrates everything that waits, and signs the result. Does nothing on a node that does not hold the lease.
    pub async fn sequence(&self) -> Result<(), EngineError> {
        loop {
            // Never on top of a tree that is not the one that this process knew.
            let Some(head) = self.look().await? else { return Ok(()) };
            let epoch = self.keys().epoch();
            let waiting = self.inner.store.load(UnsequencedEntries { epoch, limit: BATCH }).await?;
            if waiting.is_empty() {
                return self.sign(head).await;
            }
            // A lease that a clock ahead of the others takes would outlast this process by as much.
            if self.has_other_clock().await? {
                return Ok(());
            }
            let now = self.now();
            let node = &self.inner.config.node;
            let Some(fence) = self.inner.store.acquire_lease(LEASE_NAME, node, now, now.plus(LEASE)).await? else {
                return Ok(());
            };
            let tiles: TileMap =
                self.inner.store.load(Tiles { epoch, tiles: Frontier::tiles(head.size) }).await?.into_iter().collect();
            let mut frontier = Frontier::load(&head, &tiles).map_err(EngineError::internal)?;
            let tiles =
                frontier.extend(waiting.iter().map(|entry| leaf_hash(&entry.bytes))).map_err(EngineError::internal)?;
            let grown = frontier.head();
            let integration = Integration {
                epoch,
                from: head.size,
                head: grown,
                entries: waiting.iter().map(|entry| entry.id).collect(),
                tiles,
            };
            let system = vec![
                SystemWrite::HoldLease { name: LEASE_NAME.to_owned(), owner: node.clone(), fence },
                SystemWrite::Integrate(integration),
            ];
            match self.inner.store.commit(Commit::from(system)).await {
                Ok(()) => self.inner.log.grew(epoch, grown),
                // Another node took over in between; its work is as good as ours.
                Err(CommitError::Conflict(Expectation::LeaseLost { .. } | Expectation::LogMoved { .. })) => {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Signs a head that is already durable: what is signed can't be taken back.
    async fn sign(&self, head: TreeHead) -> Result<(), EngineError> {
        let signed = self.newest_checkpoint();
        if head.size == 0 || signed.is_some_and(|signed| signed.head().size >= head.size) {
            return Ok(());
        }
        let keys = self.keys();
        let origin = keys.log_key().name().to_owned();
        let checkpoint = Checkpoint { origin, head }.sign(keys.log_signer()).map_err(EngineError::internal)?;
        let row =
            CheckpointRow { epoch: keys.epoch(), size: head.size, note: checkpoint.text().to_owned(), at: self.now() };
        self.inner.store.commit(Commit::from(vec![SystemWrite::PutCheckpoint(row)])).await?;
        self.inner.log.signed(keys.epoch(), checkpoint);
        self.inner.checkpointed.notify_waiters();
        Ok(())
    }
}
