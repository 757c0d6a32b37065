//! Proofs that an entry is in a tree and that a tree is the beginning of a later one, and the text that carries the first (C2SP `tlog-proof`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_core::digest::Digest;
use tlog_tiles::{Hash, HashReader, Tile, stored_hash_index};

use crate::error::Error;
use crate::tiles::{TileId, TileSource};
use crate::tree::{MAX_TREE_SIZE, TreeHead, digest, empty_root, hash};

const TILE_HEIGHT: u8 = 8;

/// More hashes than any proof in a tree of [`MAX_TREE_SIZE`] has; the check copies the proof once for each level.
const MAX_PROOF: usize = 64;

const PROOF_HEADER: &str = "c2sp.org/tlog-proof@v1";

/// An inclusion proof together with the checkpoint that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// Data that nothing authenticates; this log writes none.
    pub extra: Option<Vec<u8>>,
    /// The entry's place, from zero.
    pub index: u64,
    /// From the leaf's sibling up to the root's child.
    pub hashes: Vec<Digest>,
    /// The signed note, verbatim and unverified.
    pub checkpoint: String,
}

/// The hashes that lead from entry `index` to the root of `head`. The proof is verified before it is returned, so damaged storage gives an error and
/// never a wrong proof.
pub fn prove_inclusion(head: &TreeHead, index: u64, source: &(impl TileSource + ?Sized)) -> Result<Vec<Digest>, Error> {
    check_inclusion_range(head.size, index)?;
    let stored = Stored::new(source, head.size);
    let (leaf, proof) = read_inclusion(head.size, index, &stored).map_err(|e| stored.fault(e, head))?;
    verify_inclusion(&proof, head, index, leaf).map_err(|_| Error::Root { size: head.size })?;
    Ok(proof)
}

/// The tiles that [`prove_inclusion`] reads, for storage that loads them beforehand.
pub fn inclusion_tiles(size: u64, index: u64) -> Result<Vec<TileId>, Error> {
    check_inclusion_range(size, index)?;
    let plan = Plan::new(size);
    let _unproved = read_inclusion(size, index, &plan);
    Ok(plan.finish())
}

/// Whether the entry with this leaf hash is entry `index` of the tree.
pub fn verify_inclusion(proof: &[Digest], head: &TreeHead, index: u64, leaf: Digest) -> Result<(), Error> {
    const WRONG: Error = Error::Proof("inclusion");
    if proof.len() > MAX_PROOF || check_inclusion_range(head.size, index).is_err() {
        return Err(WRONG);
    }
    let proof = proof.iter().copied().map(hash).collect();
    tlog_tiles::check_record(&proof, head.size, hash(head.root), index, hash(leaf)).map_err(|_| WRONG)
}

/// The hashes that show the tree of size `old` to be the beginning of the one with this head; verified like those of [`prove_inclusion`].
pub fn prove_consistency(head: &TreeHead, old: u64, source: &(impl TileSource + ?Sized)) -> Result<Vec<Digest>, Error> {
    check_consistency_range(head.size, old)?;
    if old == 0 {
        return Ok(Vec::new());
    }
    let stored = Stored::new(source, head.size);
    let (old, proof) = read_consistency(head.size, old, &stored).map_err(|e| stored.fault(e, head))?;
    verify_consistency(&proof, &old, head).map_err(|_| Error::Root { size: head.size })?;
    Ok(proof)
}

/// The tiles that [`prove_consistency`] reads, for storage that loads them beforehand.
pub fn consistency_tiles(size: u64, old: u64) -> Result<Vec<TileId>, Error> {
    check_consistency_range(size, old)?;
    let plan = Plan::new(size);
    if old > 0 {
        let _unproved = read_consistency(size, old, &plan);
    }
    Ok(plan.finish())
}

/// Whether `new` continues `old`: neither a fork of it nor a shorter one.
pub fn verify_consistency(proof: &[Digest], old: &TreeHead, new: &TreeHead) -> Result<(), Error> {
    const WRONG: Error = Error::Proof("consistency");
    if proof.len() > MAX_PROOF || check_consistency_range(new.size, old.size).is_err() {
        return Err(WRONG);
    }
    // Every tree continues the empty one, which RFC 6962 defines no proof for.
    if old.size == 0 {
        let empty = old.root == empty_root() && proof.is_empty();
        let same = new.size > 0 || new.root == old.root;
        return if empty && same { Ok(()) } else { Err(WRONG) };
    }
    let proof = proof.iter().copied().map(hash).collect();
    tlog_tiles::check_tree(&proof, new.size, hash(new.root), old.size, hash(old.root)).map_err(|_| WRONG)
}

impl TlogProof {
    /// The text.
    pub fn to_text(&self) -> String {
        let mut text = format!("{PROOF_HEADER}\n");
        if let Some(extra) = &self.extra {
            text.extend(["extra ", &STANDARD.encode(extra), "\n"]);
        }
        text.extend(["index ", &self.index.to_string(), "\n"]);
        for hash in &self.hashes {
            text.push_str(&STANDARD.encode(hash.as_bytes()));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads the text; it must be spelled exactly as [`TlogProof::to_text`] spells it. Nothing is verified yet.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (head, checkpoint) =
            text.split_once("\n\n").ok_or(Error::ProofText("no checkpoint after an empty line"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(PROOF_HEADER) {
            return Err(Error::ProofText("it begins with another line"));
        }
        let extra = lines
            .next_if(|line| line.starts_with("extra "))
            .and_then(|line| line.strip_prefix("extra "))
            .map(|data| STANDARD.decode(data))
            .transpose()
            .map_err(|_| Error::ProofText("the extra data is not base64"))?;
        let index = lines
            .next()
            .and_then(|line| line.strip_prefix("index "))
            .and_then(|index| index.parse().ok())
            .ok_or(Error::ProofText("the index is missing"))?;
        let hashes = lines
            .map(|line| {
                let bytes: Option<[u8; 32]> = STANDARD.decode(line).ok().and_then(|b| b.try_into().ok());
                bytes.map(Digest::from_bytes)
            })
            .take(MAX_PROOF + 1)
            .collect::<Option<Vec<_>>>()
            .ok_or(Error::ProofText("a line is not the base64 of a hash"))?;
        let proof = Self { extra, index, hashes, checkpoint: checkpoint.to_owned() };
        if proof.hashes.len() > MAX_PROOF || proof.to_text() != text {
            return Err(Error::ProofText("it is not in the format's own spelling"));
        }
        Ok(proof)
    }
}

/// The hashes of a tree of this size, read from tiles.
///
/// `tlog_tiles` has a reader that means to authenticate each tile against the root. Version 0.2 skips some of the full tiles when several of the
/// root's subtrees lie in one tile, which is why proofs are read plainly here and verified as a whole.
struct Stored<'a, S: TileSource + ?Sized> {
    source: &'a S,
    size: u64,
    /// The trait's error cannot carry ours.
    fault: RefCell<Option<Error>>,
}

impl<'a, S: TileSource + ?Sized> Stored<'a, S> {
    fn new(source: &'a S, size: u64) -> Self {
        Self { source, size, fault: RefCell::new(None) }
    }

    fn fault(&self, _error: tlog_tiles::Error, head: &TreeHead) -> Error {
        let fault = self.fault.take();
        fault.unwrap_or(Error::Root { size: head.size })
    }
}

impl<S: TileSource + ?Sized> HashReader for Stored<'_, S> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        let mut read: BTreeMap<TileId, Vec<u8>> = BTreeMap::new();
        let mut hashes = Vec::with_capacity(indexes.len());
        for index in indexes {
            let tile = tile_of(*index, self.size)?;
            let id = tile_id(&tile);
            let bytes = match read.entry(id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(id.read(self.source).map_err(|error| {
                    self.fault.replace(Some(error));
                    tlog_tiles::Error::InvalidTile
                })?),
            };
            hashes.push(tile.hash_at_index(bytes, *index)?);
        }
        Ok(hashes)
    }
}

/// Notes which tiles a proof asks for; the hashes that it gives mean nothing.
struct Plan {
    size: u64,
    tiles: RefCell<Vec<TileId>>,
}

impl Plan {
    fn new(size: u64) -> Self {
        Self { size, tiles: RefCell::default() }
    }

    fn finish(self) -> Vec<TileId> {
        let mut tiles = self.tiles.into_inner();
        tiles.sort_unstable();
        tiles.dedup();
        tiles
    }
}

impl HashReader for Plan {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        indexes
            .iter()
            .map(|index| {
                let tile = tile_of(*index, self.size)?;
                self.tiles.borrow_mut().push(tile_id(&tile));
                Ok(tlog_tiles::EMPTY_HASH)
            })
            .collect()
    }
}

/// The leaf's own hash, and the proof for it.
fn read_inclusion(size: u64, index: u64, reader: &impl HashReader) -> Result<(Digest, Vec<Digest>), tlog_tiles::Error> {
    let leaf = reader.read_hashes(&[stored_hash_index(0, index)])?;
    let leaf = leaf.first().ok_or(tlog_tiles::Error::BadMath)?;
    let proof = tlog_tiles::prove_record(size, index, reader)?;
    Ok((digest(*leaf), proof.into_iter().map(digest).collect()))
}

/// The older tree's head, and the proof for it.
fn read_consistency(
    size: u64,
    old: u64,
    reader: &impl HashReader,
) -> Result<(TreeHead, Vec<Digest>), tlog_tiles::Error> {
    let root = digest(tlog_tiles::tree_hash(old, reader)?);
    let proof = tlog_tiles::prove_tree(size, old, reader)?;
    let old = TreeHead { size: old, root };
    Ok((old, proof.into_iter().map(digest).collect()))
}

/// The tile that holds a hash, as wide as a tree of this size has it.
fn tile_of(index: u64, size: u64) -> Result<Tile, tlog_tiles::Error> {
    if index >= stored_hash_index(0, size) {
        return Err(tlog_tiles::Error::IndexesNotInTree);
    }
    Tile::from_index(TILE_HEIGHT, index).parent(0, size).ok_or(tlog_tiles::Error::IndexesNotInTree)
}

fn tile_id(tile: &Tile) -> TileId {
    TileId { level: tile.level(), index: tile.level_index(), width: u16::try_from(tile.width()).unwrap_or(u16::MAX) }
}

fn check_inclusion_range(size: u64, index: u64) -> Result<(), Error> {
    if size > MAX_TREE_SIZE || index >= size {
        return Err(Error::Range("the tree has no entry of this index"));
    }
    Ok(())
}

fn check_consistency_range(new: u64, old: u64) -> Result<(), Error> {
    if new > MAX_TREE_SIZE || old > new {
        return Err(Error::Range("a tree is never the beginning of a smaller one"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::numbered;
    use crate::tiles::TileMap;
    use crate::tree::Frontier;

    fn tree(size: u64) -> (Vec<Digest>, TreeHead, TileMap) {
        let leaves: Vec<_> = numbered(size).collect();
        let mut frontier = Frontier::new();
        let tiles = frontier.extend(leaves.iter().copied()).unwrap();
        (leaves, frontier.head(), tiles.into_iter().collect())
    }

    /// RFC 6962, section 2.1.3: the tree of seven leaves and what its text says of its proofs.
    #[test]
    fn the_example_of_rfc_6962() {
        let (leaves, head, tiles) = tree(7);
        let node = |lo: usize, hi: usize| crate::testing::naive_root(&leaves[lo..hi]);
        let prove = |index| prove_inclusion(&head, index, &tiles).unwrap();
        assert_eq!(prove(0), [leaves[1], node(2, 4), node(4, 7)]);
        assert_eq!(prove(3), [leaves[2], node(0, 2), node(4, 7)]);
        assert_eq!(prove(4), [leaves[5], leaves[6], node(0, 4)]);
        assert_eq!(prove(6), [node(4, 6), node(0, 4)]);
        let from = |old| prove_consistency(&head, old, &tiles).unwrap();
        assert_eq!(from(3), [leaves[2], leaves[3], node(0, 2), node(4, 7)]);
        assert_eq!(from(4), [node(4, 7)]);
        assert_eq!(from(6), [node(4, 6), leaves[6], node(0, 4)]);
    }

    #[test]
    fn the_empty_tree_is_the_beginning_of_all() {
        let (_, new, tiles) = tree(5);
        let old = Frontier::new().head();
        assert_eq!(prove_consistency(&new, 0, &tiles), Ok(vec![]));
        assert_eq!(verify_consistency(&[], &old, &new), Ok(()));
        assert_eq!(verify_consistency(&[], &old, &old), Ok(()));
        let forged = TreeHead { root: new.root, ..old };
        assert!(verify_consistency(&[], &forged, &new).is_err());
        assert!(verify_consistency(&[], &new, &old).is_err());
    }

    #[test]
    fn an_index_beyond_the_tree_is_an_error() {
        let (leaves, head, tiles) = tree(3);
        assert!(prove_inclusion(&head, 3, &tiles).is_err());
        assert!(inclusion_tiles(0, 0).is_err());
        assert!(prove_consistency(&head, 4, &tiles).is_err());
        assert!(verify_inclusion(&[], &head, 3, leaves[0]).is_err());
        let huge = TreeHead { size: u64::MAX, root: head.root };
        assert!(verify_inclusion(&[], &huge, u64::MAX - 1, leaves[0]).is_err());
        let long = vec![leaves[0]; 1_000_000];
        assert!(verify_inclusion(&long, &head, 0, leaves[0]).is_err());
        assert!(verify_consistency(&long, &head, &head).is_err());
    }

    #[test]
    fn damaged_storage_gives_no_proof() {
        let (_, head, tiles) = tree(700);
        let id = TileId { level: 0, index: 1, width: 256 };
        let mut bytes = id.read(&tiles).unwrap();
        bytes[40] ^= 1;
        let mut damaged = TileMap::default();
        damaged.insert(id, bytes);
        for (level, index, width) in [(0, 0, 256), (0, 2, 188), (1, 0, 2)] {
            let id = TileId { level, index, width };
            damaged.insert(id, id.read(&tiles).unwrap());
        }
        assert_eq!(prove_inclusion(&head, 300, &damaged), Err(Error::Root { size: 700 }));
        assert!(prove_inclusion(&head, 3, &damaged).is_ok());
        assert_eq!(prove_consistency(&head, 300, &damaged), Err(Error::Root { size: 700 }));
        assert!(prove_consistency(&head, 256, &damaged).is_ok());
        let missing = TileId { level: 0, index: 0, width: 256 };
        assert_eq!(prove_inclusion(&head, 3, &TileMap::default()), Err(Error::Tile(missing)));
    }

    #[test]
    fn the_text_has_one_spelling() {
        let (leaves, _, _) = tree(3);
        let proof =
            TlogProof { extra: None, index: 2, hashes: leaves, checkpoint: "log\n3\nroot\n\n— log sig\n".into() };
        let text = proof.to_text();
        assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 2\n"));
        assert_eq!(TlogProof::parse(&text), Ok(proof.clone()));
        let single = TlogProof { hashes: vec![], extra: Some(b"x".to_vec()), ..proof };
        assert_eq!(TlogProof::parse(&single.to_text()), Ok(single));
        for (from, to) in [
            ("index 2", "index 02"),
            ("index 2", "index +2"),
            ("index 2", "index  2"),
            ("index 2\n", ""),
            ("index 2", "index 2\nextra eA=="),
            ("index 2", "extra e\nindex 2"),
            ("@v1", "@v2"),
            ("=\n", "\n"),
            ("=\n", "=\r\n"),
            ("\n\n", "\n"),
        ] {
            assert!(TlogProof::parse(&text.replacen(from, to, 3)).is_err(), "{from:?} {to:?}");
        }
        assert!(TlogProof::parse(&text.replace("index 2\n", &format!("index 2\n{}", "A\n".repeat(70)))).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn proofs_hold_and_only_for_what_they_prove(size in 1_u64..2_000, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
            let (leaves, head, tiles) = tree(size);
            let at = a.index(leaves.len());
            let index = u64::try_from(at).unwrap();

            let planned = inclusion_tiles(size, index).unwrap();
            let loaded: TileMap = planned.iter().map(|id| (*id, id.read(&tiles).unwrap())).collect();
            let proof = prove_inclusion(&head, index, &loaded).unwrap();
            prop_assert!(proof.len() <= 11 && planned.len() <= 4);
            prop_assert_eq!(verify_inclusion(&proof, &head, index, leaves[at]), Ok(()));
            let foreign = Digest::sha256(leaves[at].as_bytes());
            prop_assert!(verify_inclusion(&proof, &head, index, foreign).is_err());
            prop_assert!(verify_inclusion(&proof, &head, index ^ 1, leaves[at]).is_err());
            let mut longer = proof.clone();
            longer.push(leaves[0]);
            prop_assert!(verify_inclusion(&longer, &head, index, leaves[at]).is_err());

            let old = u64::try_from(b.index(leaves.len())).unwrap() + 1;
            let (_, old_head, _) = tree(old);
            let planned = consistency_tiles(size, old).unwrap();
            let loaded: TileMap = planned.iter().map(|id| (*id, id.read(&tiles).unwrap())).collect();
            let proof = prove_consistency(&head, old, &loaded).unwrap();
            prop_assert_eq!(verify_consistency(&proof, &old_head, &head), Ok(()));
            let forked = TreeHead { root: leaves[0], size: old };
            prop_assert!(old == 1 || verify_consistency(&proof, &forked, &head).is_err());
            for i in 0..proof.len() {
                let mut edited = proof.clone();
                edited[i] = Digest::sha256(edited[i].as_bytes());
                prop_assert!(verify_consistency(&edited, &old_head, &head).is_err());
            }
        }
    }
}
