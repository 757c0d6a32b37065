//! A receipt: a request's entries, what they stand for, and the proof that the log holds them.

use std::time::Duration;

use countersign_core::entry::EntryKind;
use countersign_core::ids::RequestId;
use countersign_core::principal::Principal;
use countersign_ledger::{Receipt, ReceiptEntry, SignedCheckpoint, TileMap, inclusion_tiles, prove_inclusion};
use countersign_store::{EntriesOf, EntryById, LatestCheckpoint, StoredEntry, Tiles};
use tokio::time::{Instant, timeout_at};

use crate::bootstrap::key_entries;
use crate::{Engine, EngineError};

impl Engine {
    /// The request's receipt as JSON, as soon as a signed checkpoint covers all of its entries; at most `timeout` from now.
    pub async fn receipt(
        &self,
        principal: &Principal,
        request: RequestId,
        timeout: Duration,
    ) -> Result<String, EngineError> {
        // Also the permission: who may see the request may have its receipt.
        drop(self.show(principal, request).await?);
        let end = Instant::now() + timeout;
        loop {
            let mut signed = std::pin::pin!(self.inner.checkpointed.notified());
            signed.as_mut().enable();
            if let Some(receipt) = self.try_receipt(request).await? {
                return Ok(receipt);
            }
            if Instant::now() >= end {
                return Err(EngineError::ReceiptNotReady);
            }
            // Another node may sign: look again from time to time.
            let look_again = end.min(Instant::now() + Duration::from_millis(500));
            let _signed_or_not = timeout_at(look_again, signed).await;
        }
    }

    async fn try_receipt(&self, request: RequestId) -> Result<Option<String>, EngineError> {
        let epoch = self.inner.keys.epoch();
        let Some(checkpoint) = self.inner.store.load(LatestCheckpoint(epoch)).await? else { return Ok(None) };
        let key = self.inner.keys.log_key();
        let checkpoint = SignedCheckpoint::open(&checkpoint.note, key).map_err(EngineError::internal)?;
        let size = checkpoint.head().size;
        let entries = self.inner.store.load(EntriesOf(request)).await?;
        if entries.iter().any(|entry| entry.leaf_index.is_none_or(|index| index >= size)) {
            return Ok(None);
        }
        let mut keys = Vec::new();
        for id in key_entries(&self.inner.store).await? {
            if let Some(entry) = self.inner.store.load(EntryById(id)).await?
                && entry.leaf_index.is_some_and(|index| index < size)
                && countersign_ledger::decode(&entry.bytes).is_ok_and(|decoded| decoded.kind() == Some(EntryKind::Key))
            {
                keys.push(entry);
            }
        }
        keys.sort_by_key(|entry| entry.leaf_index);
        let receipt = Receipt {
            request,
            origin: key.name().to_owned(),
            key: key.clone(),
            entries: self.prove_all(entries, &checkpoint).await?,
            keys: self.prove_all(keys, &checkpoint).await?,
        };
        Ok(Some(receipt.to_json()))
    }

    async fn prove_all(
        &self,
        mut entries: Vec<StoredEntry>,
        checkpoint: &SignedCheckpoint,
    ) -> Result<Vec<ReceiptEntry>, EngineError> {
        entries.sort_by_key(|entry| entry.leaf_index);
        let epoch = self.inner.keys.epoch();
        let head = checkpoint.head();
        let mut proved = Vec::with_capacity(entries.len());
        for entry in entries {
            let index = entry.leaf_index.unwrap_or(u64::MAX);
            let wanted = inclusion_tiles(head.size, index).map_err(EngineError::internal)?;
            let tiles: TileMap = self.inner.store.load(Tiles { epoch, tiles: wanted }).await?.into_iter().collect();
            let proof = prove_inclusion(head, index, &tiles).map_err(EngineError::internal)?;
            let entry = ReceiptEntry::new(&entry.bytes, &entry.openings, index, proof, checkpoint)
                .map_err(EngineError::internal)?;
            proved.push(entry);
        }
        Ok(proved)
    }
}
