//! The log as anybody may read it: checkpoints and tiles in the shape of C2SP `tlog-tiles`. Nothing here can be guessed back into a name or a reason.

use countersign_ledger::{Resource as Path, encode_bundle};
use countersign_store::{EntryRange, LatestCheckpoint, LogState, Tiles};

use crate::{Engine, EngineError};

/// Which log this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogInfo {
    pub origin: String,
    /// The key that checkpoints are verified with, in the form of `signed-note`.
    pub vkey: String,
    pub epoch: u64,
    pub size: u64,
}

/// The bytes under a path, and whether they can ever change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub bytes: Vec<u8>,
    /// A full tile stays as it is for ever; a partial one is replaced by a wider one.
    pub is_final: bool,
}

impl Engine {
    pub async fn log_info(&self) -> Result<LogInfo, EngineError> {
        let keys = self.keys();
        let epoch = keys.epoch();
        let size = self.inner.store.load(LogState(epoch)).await?.map_or(0, |head| head.size);
        let key = keys.log_key();
        Ok(LogInfo { origin: key.name().to_owned(), vkey: key.to_string(), epoch, size })
    }

    /// The newest checkpoint of an epoch; without one, of the current epoch.
    pub async fn checkpoint(&self, epoch: Option<u64>) -> Result<Option<String>, EngineError> {
        let epoch = epoch.unwrap_or_else(|| self.keys().epoch());
        Ok(self.inner.store.load(LatestCheckpoint(epoch)).await?.map(|row| row.note))
    }

    /// A tile or a bundle of entries by its path below the log's prefix, for example `tile/0/000` or `tile/entries/000.p/5`.
    pub async fn tile(&self, epoch: Option<u64>, path: &str) -> Result<Option<Resource>, EngineError> {
        let epoch = epoch.unwrap_or_else(|| self.keys().epoch());
        let Ok(path) = Path::parse(path) else { return Ok(None) };
        // Only what a checkpoint covers: an unsigned edge is nobody's business yet.
        let signed = self.inner.store.load(LatestCheckpoint(epoch)).await?.map_or(0, |row| row.size);
        match path {
            Path::Tile(tile) => {
                let covered = signed.checked_shr(u32::from(tile.level) * 8).unwrap_or(0);
                if end(tile.index, tile.width) > covered {
                    return Ok(None);
                }
                let found = self.inner.store.load(Tiles { epoch, tiles: vec![tile] }).await?;
                let length = usize::from(tile.width) * 32;
                Ok(found.into_iter().next().and_then(|(_, mut bytes)| {
                    (bytes.len() >= length).then(|| {
                        bytes.truncate(length);
                        Resource { bytes, is_final: tile.width == countersign_ledger::TILE_WIDTH }
                    })
                }))
            }
            Path::Bundle(bundle) => {
                let range = bundle.entries();
                if range.end > signed {
                    return Ok(None);
                }
                let entries = self.inner.store.load(EntryRange { epoch, from: range.start, to: range.end }).await?;
                let bytes = encode_bundle(entries).map_err(EngineError::internal)?;
                Ok(Some(Resource { bytes, is_final: bundle.width == countersign_ledger::TILE_WIDTH }))
            }
        }
    }
}

fn end(index: u64, width: u16) -> u64 {
    index.saturating_mul(u64::from(countersign_ledger::TILE_WIDTH)).saturating_add(u64::from(width))
}
