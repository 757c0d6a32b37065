//! The walk over a whole log: every row, every tile, every checkpoint that anybody kept, until the first break.
//!
//! What each look finds: rows against the leaf tiles, an edited or swapped row; rows against the tiles above, a row that was rewritten together with
//! its leaf; rows against signed checkpoints, a log that was rewritten throughout (by somebody without the key), a cut tail, a fork. Somebody who
//! holds the key and nobody's older checkpoint contradicts is what witnesses are for.

use std::fmt;

use countersign_core::digest::Digest;

use crate::checkpoint::SignedCheckpoint;
use crate::entry::decode;
use crate::error::Error;
use crate::key::VerifierKey;
use crate::tiles::{SourceError, TILE_WIDTH, TileId, TileSource, split};
use crate::tree::{Frontier, TreeHead, leaf_hash, subtree_hash};

/// A checkpoint to hold the log to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownCheckpoint {
    /// Who kept it, for the finding: "served by the log", "kept by this client".
    pub kept_by: String,
    /// The signed note.
    pub text: String,
}

/// A log without a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Intact {
    /// The rows walked, and their root.
    pub head: TreeHead,
    /// Checkpoints that the rows agree with.
    pub checkpoints: usize,
    /// Rows after the newest checkpoint: durable, but not signed for yet.
    pub unsigned: u64,
}

/// The first break. Rows are counted from 0, as in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Break {
    /// The rows could not be read to their end.
    #[error(transparent)]
    Storage(#[from] SourceError),
    /// A row is missing, is there twice, or is out of order.
    #[error("row {expected} is missing: row {found} stands in its place")]
    Gap { expected: u64, found: u64 },
    /// A row's content is not what the log's leaf was made of.
    #[error("row {index} was edited: it does not hash to its leaf in the tree")]
    EditedRow { index: u64 },
    /// A row holds what belongs to another place.
    #[error("row {index} holds the entry that belongs to row {belongs_at}: rows were swapped")]
    SwappedRow { index: u64, belongs_at: u64 },
    /// A row hashes to its leaf but is not an entry.
    #[error("row {index} is not an entry: {reason}")]
    NotAnEntry { index: u64, reason: Error },
    /// A stored tile is not what the rows below it make.
    #[error(
        "tile {tile} does not fit rows {first} to {last}: the tile is damaged, or the rows were rewritten together with their leaves"
    )]
    Tile { tile: TileId, first: u64, last: u64 },
    /// A tile that the rows make is not stored.
    #[error("tile {tile} is missing")]
    MissingTile { tile: TileId },
    /// A checkpoint that is not this log's.
    #[error("the checkpoint {kept_by} cannot be used: {reason}")]
    Checkpoint { kept_by: String, reason: Error },
    /// The log is shorter than it was.
    #[error("the log was cut: the checkpoint {kept_by} signs {signed} rows, there are {rows}")]
    CutTail { rows: u64, signed: u64, kept_by: String },
    /// The log says something else than it once signed.
    #[error("the log was rewritten or forked {}: the checkpoint {kept_by} of size {size} signs another root", since(*.agreed))]
    Fork {
        size: u64,
        kept_by: String,
        /// Size of the newest checkpoint that the rows do agree with.
        agreed: Option<u64>,
    },
}

/// A walk in progress; rows are fed to it one by one, so that a log need not fit in memory.
pub struct LogWalker<'a, S: TileSource + ?Sized> {
    tiles: &'a S,
    frontier: Frontier,
    /// Sorted by size, largest first.
    ahead: Vec<(TreeHead, String)>,
    agreed: Option<u64>,
    passed: usize,
    leaves: Vec<Digest>,
}

/// Walks a whole log: `rows` in order, each with its index, against the stored tiles and every checkpoint at hand.
pub fn verify_log<S: TileSource + ?Sized, E: AsRef<[u8]>>(
    key: &VerifierKey,
    rows: impl IntoIterator<Item = Result<(u64, E), SourceError>>,
    tiles: &S,
    checkpoints: &[KnownCheckpoint],
) -> Result<Intact, Break> {
    let mut walker = LogWalker::new(key, tiles, checkpoints)?;
    for row in rows {
        let (index, bytes) = row?;
        walker.row(index, bytes.as_ref())?;
    }
    walker.finish()
}

impl<'a, S: TileSource + ?Sized> LogWalker<'a, S> {
    /// Begins a walk. Each checkpoint must be signed by the log's key.
    pub fn new(key: &VerifierKey, tiles: &'a S, checkpoints: &[KnownCheckpoint]) -> Result<Self, Break> {
        let mut ahead = checkpoints
            .iter()
            .map(|known| {
                let signed = SignedCheckpoint::open(&known.text, key)
                    .map_err(|reason| Break::Checkpoint { kept_by: known.kept_by.clone(), reason })?;
                Ok((*signed.head(), known.kept_by.clone()))
            })
            .collect::<Result<Vec<_>, Break>>()?;
        ahead.sort_by_key(|(head, _)| std::cmp::Reverse(head.size));
        let mut walker = Self { tiles, frontier: Frontier::new(), ahead, agreed: None, passed: 0, leaves: Vec::new() };
        walker.pass_checkpoints()?;
        Ok(walker)
    }

    /// Takes the next row.
    pub fn row(&mut self, index: u64, bytes: &[u8]) -> Result<(), Break> {
        let expected = self.frontier.size();
        if index != expected {
            return Err(Break::Gap { expected, found: index });
        }
        let leaf = leaf_hash(bytes);
        if let Some(stored) = self.stored_leaf(index)?
            && stored != leaf
        {
            return Err(match self.find_leaf(leaf)? {
                Some(belongs_at) => Break::SwappedRow { index, belongs_at },
                None => Break::EditedRow { index },
            });
        }
        decode(bytes).map_err(|reason| Break::NotAnEntry { index, reason })?;

        let mut full = Vec::new();
        self.frontier.push(leaf, &mut full).map_err(|reason| Break::NotAnEntry { index, reason })?;
        for (tile, bytes) in full {
            self.check_parent(tile, subtree_hash(&split(&bytes).collect::<Vec<_>>()))?;
        }
        self.pass_checkpoints()
    }

    /// Ends the walk: the log must reach as far as every checkpoint.
    pub fn finish(mut self) -> Result<Intact, Break> {
        let head = self.frontier.head();
        // The smallest one ahead is the first one that the rows do not reach.
        if let Some((ahead, kept_by)) = self.ahead.pop() {
            return Err(Break::CutTail { rows: head.size, signed: ahead.size, kept_by });
        }
        let signed = self.agreed.unwrap_or(0);
        Ok(Intact { head, checkpoints: self.passed, unsigned: head.size - signed })
    }

    fn pass_checkpoints(&mut self) -> Result<(), Break> {
        let size = self.frontier.size();
        while self.ahead.last().is_some_and(|(head, _)| head.size == size) {
            if let Some((head, kept_by)) = self.ahead.pop() {
                if head.root != self.frontier.root() {
                    return Err(Break::Fork { size, kept_by, agreed: self.agreed });
                }
                self.agreed = Some(size);
                self.passed += 1;
            }
        }
        Ok(())
    }

    /// The leaf that the tree holds for a row; `None` for a row past every checkpoint that the sequencer has not come to.
    fn stored_leaf(&mut self, index: u64) -> Result<Option<Digest>, Break> {
        let width = u64::from(TILE_WIDTH);
        let within = index % width;
        let at = usize::try_from(within).unwrap_or(usize::MAX);
        if within == 0 {
            self.leaves.clear();
        }
        if at >= self.leaves.len() {
            let tile =
                TileId { level: 0, index: index / width, width: u16::try_from(within + 1).unwrap_or(TILE_WIDTH) };
            self.leaves = self.tiles.tile(tile)?.iter().flat_map(|bytes| split(bytes)).collect();
            if at >= self.leaves.len() && !self.ahead.is_empty() {
                return Err(Break::MissingTile { tile });
            }
        }
        Ok(self.leaves.get(at).copied())
    }

    /// Looks through the leaf tiles for the place that a row belongs to; only done once, for the words of the finding.
    fn find_leaf(&self, leaf: Digest) -> Result<Option<u64>, Break> {
        let width = u64::from(TILE_WIDTH);
        for index in 0.. {
            let tile = TileId { level: 0, index, width: 1 };
            let Some(bytes) = self.tiles.tile(tile)? else {
                break;
            };
            if let Some(at) = split(&bytes).position(|hash| hash == leaf) {
                return Ok(u64::try_from(at).ok().map(|at| index * width + at));
            }
        }
        Ok(None)
    }

    /// A full tile's hash stands in the tile above. Leaves are compared one by one, so this covers every stored hash, and says where a row lies
    /// that was rewritten together with its leaf.
    fn check_parent(&self, full: TileId, hash: Digest) -> Result<(), Break> {
        let within = full.index % u64::from(TILE_WIDTH);
        let parent = TileId {
            level: full.level + 1,
            index: full.index / u64::from(TILE_WIDTH),
            width: u16::try_from(within + 1).unwrap_or(TILE_WIDTH),
        };
        let stored = self.tiles.tile(parent)?;
        let at = usize::try_from(within).unwrap_or(usize::MAX);
        let stored = stored.as_deref().and_then(|bytes| split(bytes).nth(at));
        match stored {
            Some(stored) if stored == hash => Ok(()),
            Some(_) => {
                let span = 8 * (u32::from(full.level) + 1);
                let first = full.index << span;
                Err(Break::Tile { tile: parent, first, last: first + (1 << span) - 1 })
            }
            None if self.ahead.is_empty() => Ok(()),
            None => Err(Break::MissingTile { tile: parent }),
        }
    }
}

impl<S: TileSource + ?Sized> fmt::Debug for LogWalker<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogWalker")
            .field("size", &self.frontier.size())
            .field("checkpoints_ahead", &self.ahead.len())
            .finish_non_exhaustive()
    }
}

fn since(agreed: Option<u64>) -> String {
    match agreed {
        Some(size) => format!("after row {}", size.saturating_sub(1)),
        None => "somewhere from its beginning".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::entry::EntryKind;

    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::key::Signer as _;
    use crate::testing::{ORIGIN, TestKey, TestLog, draft};
    use crate::tiles::TileMap;

    fn kept(signed: &SignedCheckpoint, by: &str) -> KnownCheckpoint {
        KnownCheckpoint { kept_by: by.to_owned(), text: signed.text().to_owned() }
    }

    /// A log of 600 rows with checkpoints at 200, 300 and 600.
    fn log() -> (TestLog, Vec<KnownCheckpoint>) {
        let mut log = TestLog::new(200);
        let mut checkpoints = vec![kept(&log.checkpoint(), "kept by alice")];
        for until in [300, 600] {
            let from = u64::try_from(log.rows.len()).unwrap();
            log.append((from..until).map(|n| draft(EntryKind::LoginFailed, n)));
            checkpoints.push(kept(&log.checkpoint(), "served by the log"));
        }
        (log, checkpoints)
    }

    fn walk(
        rows: &[Vec<u8>],
        tiles: &TileMap,
        log: &TestLog,
        checkpoints: &[KnownCheckpoint],
    ) -> Result<Intact, Break> {
        let rows = (0_u64..).zip(rows).map(Ok);
        verify_log(log.key.verifier_key(), rows, tiles, checkpoints)
    }

    /// What somebody with the database but without the key can do: make all tiles anew from other rows.
    fn rebuilt(rows: &[Vec<u8>]) -> TileMap {
        Frontier::new().extend(rows.iter().map(|row| leaf_hash(row))).unwrap().into_iter().collect()
    }

    #[test]
    fn an_honest_log_is_intact() {
        let (mut log, checkpoints) = log();
        let intact = walk(&log.leaves(), &log.tiles, &log, &checkpoints).unwrap();
        assert_eq!((intact.head, intact.checkpoints, intact.unsigned), (log.frontier.head(), 3, 0));
        log.append([draft(EntryKind::LoginFailed, 600)]);
        let intact = walk(&log.leaves(), &log.tiles, &log, &checkpoints).unwrap();
        assert_eq!((intact.head.size, intact.unsigned), (601, 1));
        // Nothing is signed for the last row, and its tile may be on its way.
        let rows = log.leaves();
        assert_eq!(walk(&rows, &rebuilt(&rows[..600]), &log, &checkpoints).unwrap().unsigned, 1);
        assert_eq!(walk(&[], &TileMap::default(), &log, &[]).unwrap().head.size, 0);
    }

    #[test]
    fn an_edited_row_is_named() {
        let (log, checkpoints) = log();
        let mut rows = log.leaves();
        rows[277] = String::from_utf8(rows[277].clone()).unwrap().replace("failed", "failee").into_bytes();
        assert_eq!(walk(&rows, &log.tiles, &log, &checkpoints), Err(Break::EditedRow { index: 277 }));
    }

    #[test]
    fn swapped_rows_are_named() {
        let (log, checkpoints) = log();
        let mut rows = log.leaves();
        rows.swap(3, 580);
        let found = walk(&rows, &log.tiles, &log, &checkpoints);
        assert_eq!(found, Err(Break::SwappedRow { index: 3, belongs_at: 580 }));
    }

    #[test]
    fn a_row_rewritten_with_its_leaf_does_not_fit_the_tile_above() {
        let (log, checkpoints) = log();
        let mut rows = log.leaves();
        rows[10] = rows[11].clone();
        let mut tiles = TileMap::default();
        let forged = rebuilt(&rows);
        for (level, index, width) in [(0, 0, 256), (0, 1, 256), (0, 2, 88)] {
            let id = TileId { level, index, width };
            tiles.insert(id, id.read(&forged).unwrap());
        }
        let above = TileId { level: 1, index: 0, width: 2 };
        tiles.insert(above, above.read(&log.tiles).unwrap());
        // A checkpoint before the tile's end tells earlier, and a log without any is still held to its own tiles.
        let found = Err(Break::Tile { tile: TileId { width: 1, ..above }, first: 0, last: 255 });
        assert_eq!(walk(&rows, &tiles, &log, &checkpoints[2..]), found);
        assert_eq!(walk(&rows, &tiles, &log, &[]), found);
        let found = walk(&rows, &tiles, &log, &checkpoints);
        assert!(matches!(found, Err(Break::Fork { size: 200, agreed: None, .. })), "{found:?}");
    }

    #[test]
    fn a_log_rewritten_throughout_contradicts_its_checkpoints() {
        let (log, checkpoints) = log();
        let mut rows = log.leaves();
        rows[250] = rows[251].clone();
        let found = walk(&rows, &rebuilt(&rows), &log, &checkpoints).unwrap_err();
        assert_eq!(found, Break::Fork { size: 300, kept_by: "served by the log".into(), agreed: Some(200) });
        assert!(found.to_string().contains("after row 199"), "{found}");
    }

    #[test]
    fn a_cut_tail_is_shown_by_any_older_checkpoint() {
        let (log, checkpoints) = log();
        let rows = &log.leaves()[..250];
        // The owner of the key cuts his own log and signs what is left: only what alice and others kept can tell.
        let mut short = TestLog::new(200);
        short.append((200..250).map(|n| draft(EntryKind::LoginFailed, n)));
        let resigned = kept(&short.checkpoint(), "served by the log");
        assert!(walk(rows, &rebuilt(rows), &log, &[resigned.clone(), checkpoints[0].clone()]).is_ok());
        let found = walk(rows, &rebuilt(rows), &log, &[resigned, checkpoints[1].clone()]);
        let kept_by = "served by the log".to_owned();
        assert_eq!(found, Err(Break::CutTail { rows: 250, signed: 300, kept_by }));
    }

    #[test]
    fn a_fork_signed_with_the_right_key_is_a_fork() {
        let (log, mut checkpoints) = log();
        let mut fork = TestLog::new(150);
        fork.append((0..100).map(|n| draft(EntryKind::AuditRead, n)));
        checkpoints.push(kept(&fork.checkpoint(), "kept by bob"));
        let found = walk(&log.leaves(), &log.tiles, &log, &checkpoints).unwrap_err();
        assert_eq!(found, Break::Fork { size: 250, kept_by: "kept by bob".into(), agreed: Some(200) });
    }

    #[test]
    fn a_missing_or_doubled_row_is_a_gap() {
        let (log, checkpoints) = log();
        let key = log.key.verifier_key();
        let leaves = log.leaves();
        let with = |indexes: Vec<u64>| {
            let rows = indexes.into_iter().map(|i| Ok((i, &leaves[usize::try_from(i).unwrap()])));
            verify_log(key, rows, &log.tiles, &checkpoints)
        };
        let missing = (0..600).filter(|i| *i != 42).collect();
        assert_eq!(with(missing), Err(Break::Gap { expected: 42, found: 43 }));
        let doubled = (0..600).flat_map(|i| if i == 7 { vec![7, 7] } else { vec![i] }).collect();
        assert_eq!(with(doubled), Err(Break::Gap { expected: 8, found: 7 }));
    }

    #[test]
    fn damaged_tiles_are_named() {
        let (log, checkpoints) = log();
        let mut tiles = TileMap::default();
        for (level, index, width) in [(0, 0, 256), (0, 1, 256), (0, 2, 88), (1, 0, 2)] {
            let id = TileId { level, index, width };
            let mut bytes = id.read(&log.tiles).unwrap();
            if level == 1 {
                bytes[40] ^= 1;
            }
            tiles.insert(id, bytes);
        }
        let tile = TileId { level: 1, index: 0, width: 2 };
        let found = walk(&log.leaves(), &tiles, &log, &checkpoints);
        assert_eq!(found, Err(Break::Tile { tile, first: 256, last: 511 }));
        let found = walk(&log.leaves(), &rebuilt(&log.leaves()[..512]), &log, &checkpoints);
        assert!(matches!(found, Err(Break::MissingTile { .. })), "{found:?}");
    }

    #[test]
    fn a_leaf_that_is_no_entry_and_storage_that_fails_are_findings() {
        let (log, _) = log();
        let rows = vec![b"{}".to_vec()];
        assert!(matches!(walk(&rows, &rebuilt(&rows), &log, &[]), Err(Break::NotAnEntry { index: 0, .. })));
        let failing = [Err::<(u64, Vec<u8>), _>(SourceError("disk".into()))];
        let found = verify_log(log.key.verifier_key(), failing, &log.tiles, &[]);
        assert_eq!(found, Err(Break::Storage(SourceError("disk".into()))));
    }

    #[test]
    fn a_checkpoint_of_another_key_or_log_is_refused() {
        let (log, _) = log();
        let head = log.frontier.head();
        for key in [TestKey::new(ORIGIN, 9), TestKey::new("log.example/2", 1)] {
            let origin = key.verifier_key().name().to_owned();
            let other = Checkpoint { origin, head }.sign(&key).unwrap();
            let found = walk(&log.leaves(), &log.tiles, &log, &[kept(&other, "kept by eve")]);
            assert!(matches!(found, Err(Break::Checkpoint { .. })), "{found:?}");
        }
    }
}
