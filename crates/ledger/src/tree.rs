//! The growing edge of the Merkle tree (RFC 6962, section 2.1).

use countersign_core::digest::Digest;
use tlog_tiles::Hash;

use crate::error::Error;
use crate::tiles::{TILE_WIDTH, TileId, TileSource, join, split};

/// Entries that a log may have. Far beyond any, and within what the arithmetic on tiles can carry without a thought.
pub const MAX_TREE_SIZE: u64 = 1 << 48;

/// Size and root of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    /// Number of entries.
    pub size: u64,
    /// Merkle tree hash over them.
    pub root: Digest,
}

/// The right edge of a tree: the partial tile of each level, which is all that appending needs. At most 7 tiles of 8 KiB, whatever the tree's size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    levels: Vec<Vec<Digest>>,
}

/// The hash of an entry as a leaf: SHA-256 of a zero byte and the entry.
pub fn leaf_hash(entry: &[u8]) -> Digest {
    digest(tlog_tiles::record_hash(entry))
}

/// The root of a tree without entries.
pub fn empty_root() -> Digest {
    digest(tlog_tiles::EMPTY_HASH)
}

impl Frontier {
    /// The edge of an empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tiles that [`Frontier::load`] reads for a tree of this size.
    pub fn tiles(size: u64) -> Vec<TileId> {
        (0..8_u8)
            .filter_map(|level| {
                let hashes = size.checked_shr(u32::from(level) * 8)?;
                let width = u16::try_from(hashes % u64::from(TILE_WIDTH)).ok()?;
                (width > 0).then_some(TileId { level, index: hashes / u64::from(TILE_WIDTH), width })
            })
            .collect()
    }

    /// Reads the edge of the tree with this head, and refuses tiles that do not hash to its root: a log must never sign on top of damage.
    pub fn load(head: &TreeHead, source: &(impl TileSource + ?Sized)) -> Result<Self, Error> {
        if head.size > MAX_TREE_SIZE {
            return Err(Error::Range("the tree is larger than 2^48 entries"));
        }
        let mut frontier = Self { size: head.size, levels: Vec::new() };
        for tile in Self::tiles(head.size) {
            frontier.levels.resize(usize::from(tile.level), Vec::new());
            frontier.levels.push(split(&tile.read(source)?).collect());
        }
        if frontier.root() != head.root {
            return Err(Error::Root { size: head.size });
        }
        Ok(frontier)
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Merkle tree hash over the entries.
    pub fn root(&self) -> Digest {
        let mut root = None;
        for hashes in &self.levels {
            // The tree's complete subtrees grow from right to left, like the bits of its size.
            let mut rest = hashes.as_slice();
            for bit in 0..8 {
                let width = 1_usize << bit;
                if rest.len() & width == 0 {
                    continue;
                }
                let (left, subtree) = rest.split_at(rest.len() - width);
                let hash = subtree_hash(subtree);
                root = Some(root.map_or(hash, |right| node_hash(hash, right)));
                rest = left;
            }
        }
        root.unwrap_or_else(empty_root)
    }

    /// Size and root.
    pub fn head(&self) -> TreeHead {
        TreeHead { size: self.size, root: self.root() }
    }

    /// Adds leaves by their hashes and returns the tiles to write: those that became full, and the new edge. The work grows with the leaves alone.
    pub fn extend(&mut self, leaves: impl IntoIterator<Item = Digest>) -> Result<Vec<(TileId, Vec<u8>)>, Error> {
        let before = self.size;
        let mut tiles = Vec::new();
        for leaf in leaves {
            self.push(leaf, &mut tiles)?;
        }
        for tile in Self::tiles(self.size) {
            let level = u32::from(tile.level) * 8;
            if before >> level != self.size >> level
                && let Some(hashes) = self.levels.get(usize::from(tile.level))
            {
                tiles.push((tile, join(hashes)));
            }
        }
        Ok(tiles)
    }

    /// Adds one leaf; full tiles go to `full`, the edge stays here.
    pub(crate) fn push(&mut self, leaf: Digest, full: &mut Vec<(TileId, Vec<u8>)>) -> Result<(), Error> {
        if self.size >= MAX_TREE_SIZE {
            return Err(Error::Range("the log is full: begin the next epoch"));
        }
        let mut hash = leaf;
        for level in 0..8_u8 {
            let at = usize::from(level);
            if self.levels.len() == at {
                self.levels.push(Vec::new());
            }
            let Some(hashes) = self.levels.get_mut(at) else {
                break;
            };
            hashes.push(hash);
            if hashes.len() < usize::from(TILE_WIDTH) {
                break;
            }
            let id = TileId { level, index: self.size >> (8 * (u32::from(level) + 1)), width: TILE_WIDTH };
            full.push((id, join(hashes)));
            hash = subtree_hash(hashes);
            hashes.clear();
        }
        self.size += 1;
        Ok(())
    }
}

pub(crate) fn digest(hash: Hash) -> Digest {
    Digest::from_bytes(hash.0)
}

pub(crate) fn hash(digest: Digest) -> Hash {
    Hash(*digest.as_bytes())
}

fn node_hash(left: Digest, right: Digest) -> Digest {
    digest(tlog_tiles::node_hash(hash(left), hash(right)))
}

/// The hash over a complete subtree: its width is a power of two.
pub(crate) fn subtree_hash(hashes: &[Digest]) -> Digest {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        let (pairs, _) = row.as_chunks::<2>();
        row = pairs.iter().map(|[left, right]| node_hash(*left, *right)).collect();
    }
    row.first().copied().unwrap_or_else(empty_root)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{naive_root, numbered};
    use crate::tiles::TileMap;

    /// Published with the reference implementation of RFC 6962: inputs, and the roots of the first n of them.
    #[test]
    fn roots_of_rfc_6962() {
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut frontier = Frontier::new();
        assert_eq!(frontier.root().to_string(), roots[0]);
        for (input, root) in inputs.iter().zip(&roots[1..]) {
            frontier.extend([leaf_hash(input)]).unwrap();
            assert_eq!(frontier.root().to_string(), *root);
        }
    }

    #[test]
    fn a_tree_of_70_000_has_the_tiles_that_the_specification_counts() {
        let mut frontier = Frontier::new();
        let tiles = frontier.extend(numbered(70_000)).unwrap();
        let count =
            |level, full| tiles.iter().filter(|(id, _)| id.level == level && (id.width == TILE_WIDTH) == full).count();
        assert_eq!((count(0, true), count(1, true), count(2, true)), (273, 1, 0));
        let edge: Vec<_> = Frontier::tiles(70_000).iter().map(|id| (id.level, id.index, id.width)).collect();
        assert_eq!(edge, [(0, 273, 112), (1, 1, 17), (2, 0, 1)]);
        assert!(tiles.iter().all(|(id, bytes)| bytes.len() == usize::from(id.width) * 32));
    }

    #[test]
    fn appending_costs_the_same_however_large_the_tree_is() {
        let mut frontier = Frontier::new();
        frontier.extend(numbered(70_000)).unwrap();
        let written = frontier.extend(numbered(10)).unwrap();
        assert_eq!(written.len(), 1);
        assert_eq!(Frontier::tiles(70_010).len(), 3);
        assert_eq!(Frontier::tiles(MAX_TREE_SIZE - 1).len(), 6);
    }

    #[test]
    fn a_damaged_tile_is_never_built_upon() {
        let mut frontier = Frontier::new();
        let tiles: TileMap = frontier.extend(numbered(300)).unwrap().into_iter().collect();
        let head = frontier.head();
        assert_eq!(Frontier::load(&head, &tiles).unwrap(), frontier);

        let edge = Frontier::tiles(300)[0];
        let mut bytes = edge.read(&tiles).unwrap();
        bytes[5] ^= 1;
        let damaged: TileMap = [(edge, bytes.clone()), (Frontier::tiles(300)[1], vec![0; 32])].into_iter().collect();
        assert_eq!(Frontier::load(&head, &damaged), Err(Error::Root { size: 300 }));
        bytes.truncate(32);
        let short: TileMap = [(edge, bytes)].into_iter().collect();
        assert_eq!(Frontier::load(&head, &short), Err(Error::Tile(edge)));
        assert_eq!(Frontier::load(&head, &TileMap::default()), Err(Error::Tile(edge)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn batches_make_the_tree_that_all_at_once_makes(batches in prop::collection::vec(0_u64..400, 1..8)) {
            let leaves: Vec<_> = numbered(batches.iter().sum()).collect();
            let mut tiles = TileMap::default();
            let mut head = Frontier::new().head();
            let mut at = 0;
            for batch in batches {
                let mut frontier = Frontier::load(&head, &tiles).unwrap();
                let next = at + usize::try_from(batch).unwrap();
                tiles.extend(frontier.extend(leaves[at..next].iter().copied()).unwrap());
                head = frontier.head();
                at = next;
                prop_assert_eq!(head.root, naive_root(&leaves[..at]));
            }
            let mut once = Frontier::new();
            let all: TileMap = once.extend(leaves).unwrap().into_iter().collect();
            prop_assert_eq!(tiles, all);
        }
    }
}
