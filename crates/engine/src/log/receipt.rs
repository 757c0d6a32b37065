//! A receipt: a request's entries, what they stand for, and the proof that the log holds them.

use std::time::Duration;

use countersign_core::entry::EntryKind;
use countersign_core::ids::RequestId;
use countersign_core::principal::Principal;
use countersign_ledger::{
    EarlierLog, Receipt, ReceiptEntry, SignedCheckpoint, TileMap, VerifierKey, inclusion_tiles, log_origin,
    prove_inclusion,
};
use countersign_store::{
    EntriesOf, EntryAt, EntryById, EpochRow, Epochs, LatestCheckpoint, SigningKey, SigningKeys, StoredEntry, Tiles,
};
use tokio::time::{Instant, timeout_at};

use crate::bootstrap::key_entries;
use crate::keyring::PURPOSE_LOG;
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
        let _held = self.inner.wakeups.hold(principal)?;
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
        let entries = self.inner.store.load(EntriesOf(request)).await?;
        let mut logs = Vec::new();
        let mut rows = self.inner.store.load(Epochs).await?;
        let signing = self.inner.store.load(SigningKeys).await?;
        rows.reverse();
        for EpochRow { epoch, closed, .. } in rows {
            let Some(checkpoint) = self.inner.store.load(LatestCheckpoint(epoch)).await? else {
                // Nothing of it was ever signed, so nothing of it can be shown.
                if closed {
                    continue;
                }
                return Ok(None);
            };
            let key = public_log_key(self.keys().name(), &signing, epoch)?;
            let checkpoint = SignedCheckpoint::open(&checkpoint.note, &key).map_err(EngineError::internal)?;
            logs.push(Log { epoch, closed, key, checkpoint });
        }
        // Within a log that is open everything is signed in a moment; where one ended, some entries may have no place for ever.
        let mut shown = Vec::new();
        for entry in entries {
            let log = logs.iter().find(|log| log.epoch == entry.epoch);
            match log.filter(|log| log.holds(&entry)) {
                Some(log) => shown.push((log, entry)),
                None if log.is_some_and(|log| !log.closed) => return Ok(None),
                None => {}
            }
        }
        if shown.is_empty() {
            return Err(EngineError::Conflict {
                why: "no entry of this request got a place in the log before the backup was restored, so there is nothing to show"
                    .to_owned(),
                stage: None,
            });
        }
        let (Some(newest), Some(oldest)) = (logs.first(), shown.iter().map(|(log, _)| log.epoch).min()) else {
            return Ok(None);
        };
        let keys = self.published_keys(&logs).await?;
        let mut earlier = Vec::new();
        for (after, log) in logs.iter().zip(logs.iter().skip(1)).filter(|(_, log)| log.epoch >= oldest) {
            let first = self.inner.store.load(EntryAt { epoch: after.epoch, index: 0 }).await?;
            let first = first.ok_or_else(|| EngineError::internal("a log without its first entry"))?;
            let mut named_by = self.prove_all(vec![(after, first)]).await?;
            earlier.extend(named_by.pop().map(|named_by| EarlierLog { key: log.key.clone(), named_by }));
        }
        let receipt = Receipt {
            request,
            origin: newest.key.name().to_owned(),
            key: newest.key.clone(),
            earlier,
            entries: self.prove_all(shown).await?,
            keys: self.prove_all(keys).await?,
        };
        Ok(Some(receipt.to_json()))
    }

    /// The entries with which the newest log published its keys.
    async fn published_keys<'l>(&self, logs: &'l [Log]) -> Result<Vec<(&'l Log, StoredEntry)>, EngineError> {
        let mut keys = Vec::new();
        for id in key_entries(&self.inner.store).await? {
            if let Some(entry) = self.inner.store.load(EntryById(id)).await?
                && let Some(log) = logs.first().filter(|log| log.epoch == entry.epoch && log.holds(&entry))
                && countersign_ledger::decode(&entry.bytes).is_ok_and(|decoded| decoded.kind() == Some(EntryKind::Key))
            {
                keys.push((log, entry));
            }
        }
        Ok(keys)
    }

    async fn prove_all(&self, mut entries: Vec<(&Log, StoredEntry)>) -> Result<Vec<ReceiptEntry>, EngineError> {
        entries.sort_by_key(|(log, entry)| (log.epoch, entry.leaf_index));
        let mut proved = Vec::with_capacity(entries.len());
        for (log, entry) in entries {
            let head = log.checkpoint.head();
            let index = entry.leaf_index.unwrap_or(u64::MAX);
            let tiles = inclusion_tiles(head.size, index).map_err(EngineError::internal)?;
            let tiles: TileMap = self.inner.store.load(Tiles { epoch: log.epoch, tiles }).await?.into_iter().collect();
            let proof = prove_inclusion(head, index, &tiles).map_err(EngineError::internal)?;
            let entry = ReceiptEntry::new(&entry.bytes, &entry.openings, index, proof, &log.checkpoint)
                .map_err(EngineError::internal)?;
            proved.push(entry);
        }
        Ok(proved)
    }
}

/// An epoch's log with its newest checkpoint.
struct Log {
    epoch: u64,
    closed: bool,
    key: VerifierKey,
    checkpoint: SignedCheckpoint,
}

impl Log {
    fn holds(&self, entry: &StoredEntry) -> bool {
        entry.leaf_index.is_some_and(|index| index < self.checkpoint.head().size)
    }
}

fn public_log_key(name: &str, rows: &[SigningKey], epoch: u64) -> Result<VerifierKey, EngineError> {
    let row = rows.iter().find(|row| row.purpose == PURPOSE_LOG && row.epoch == epoch);
    let row = row.ok_or_else(|| EngineError::internal(format!("epoch {epoch} has no key")))?;
    let public = <[u8; 32]>::try_from(row.public.as_slice()).map_err(EngineError::internal)?;
    let origin = log_origin(name, epoch).map_err(EngineError::internal)?;
    VerifierKey::from_ed25519(&origin, &public).map_err(EngineError::internal)
}
