//! Tiles and entry bundles: what is stored of the tree and served under `/ledger/tile/`, as C2SP `tlog-tiles` describes it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use countersign_core::digest::Digest;

use crate::error::Error;

/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: u16 = 256;

const HASH_LEN: usize = 32;

/// A tile of height 8: `width` consecutive hashes at tree level `8 * level`, from hash `256 * index` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    /// 0 holds the hashes of leaves, each level above the hashes of full tiles.
    pub level: u8,
    /// Place within the level.
    pub index: u64,
    /// 1 to 256; a narrower tile is the beginning of the wider one.
    pub width: u16,
}

/// A bundle of entries: those that the level 0 tile of the same index and width holds the hashes of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BundleId {
    /// Place of the bundle.
    pub index: u64,
    /// 1 to 256.
    pub width: u16,
}

/// What a path under the log's prefix names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// `tile/<level>/<index>[.p/<width>]`
    Tile(TileId),
    /// `tile/entries/<index>[.p/<width>]`
    Bundle(BundleId),
}

/// Storage failed; the text says how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the ledger's storage could not be read: {0}")]
pub struct SourceError(pub String);

/// Where tiles are read from. Nothing that it returns is trusted: it is hashed up to a known root before use.
pub trait TileSource {
    /// The bytes of a tile, 32 for each hash. A wider version may be returned, since a narrower one is its beginning; so storage keeps the widest
    /// only. `None` if there is none that is wide enough.
    fn tile(&self, tile: TileId) -> Result<Option<Vec<u8>>, SourceError>;
}

/// Tiles in memory, the widest version of each; for storage that is asynchronous and loads beforehand what a plan names, and for tests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TileMap {
    tiles: BTreeMap<(u8, u64), Vec<u8>>,
}

impl TileMap {
    /// Keeps a tile unless a wider version is there.
    pub fn insert(&mut self, tile: TileId, bytes: Vec<u8>) {
        let kept = self.tiles.entry((tile.level, tile.index)).or_default();
        if kept.len() < bytes.len() {
            *kept = bytes;
        }
    }
}

impl Extend<(TileId, Vec<u8>)> for TileMap {
    fn extend<T: IntoIterator<Item = (TileId, Vec<u8>)>>(&mut self, tiles: T) {
        tiles.into_iter().for_each(|(id, bytes)| self.insert(id, bytes));
    }
}

impl FromIterator<(TileId, Vec<u8>)> for TileMap {
    fn from_iter<T: IntoIterator<Item = (TileId, Vec<u8>)>>(tiles: T) -> Self {
        let mut map = Self::default();
        map.extend(tiles);
        map
    }
}

impl TileSource for TileMap {
    fn tile(&self, tile: TileId) -> Result<Option<Vec<u8>>, SourceError> {
        let kept = self.tiles.get(&(tile.level, tile.index));
        Ok(kept.filter(|bytes| bytes.len() >= usize::from(tile.width) * HASH_LEN).cloned())
    }
}

impl TileId {
    /// The path below the log's prefix.
    pub fn path(self) -> String {
        format!("tile/{}/{}", self.level, place(self.index, self.width))
    }

    /// Reads exactly this tile's bytes from a source, cut to its width.
    pub(crate) fn read(self, source: &(impl TileSource + ?Sized)) -> Result<Vec<u8>, Error> {
        let mut bytes = source.tile(self)?.ok_or(Error::Tile(self))?;
        let len = usize::from(self.width) * HASH_LEN;
        if bytes.len() < len {
            return Err(Error::Tile(self));
        }
        bytes.truncate(len);
        Ok(bytes)
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

impl BundleId {
    /// The path below the log's prefix.
    pub fn path(self) -> String {
        format!("tile/entries/{}", place(self.index, self.width))
    }

    /// Indexes of its entries.
    pub fn entries(self) -> Range<u64> {
        let first = self.index.saturating_mul(u64::from(TILE_WIDTH));
        first..first.saturating_add(u64::from(self.width))
    }
}

impl Resource {
    /// Reads a path below the log's prefix; each resource has exactly one spelling.
    pub fn parse(path: &str) -> Result<Self, Error> {
        let rest = path.strip_prefix("tile/").ok_or(Error::Path)?;
        let (level, place) = rest.split_once('/').ok_or(Error::Path)?;
        let (index, width) = parse_place(place).ok_or(Error::Path)?;
        let resource = if level == "entries" {
            Self::Bundle(BundleId { index, width })
        } else {
            let level = level.parse().map_err(|_| Error::Path)?;
            Self::Tile(TileId { level, index, width })
        };
        let (spelled, known) = match resource {
            Self::Tile(tile) => (tile.path(), tile.level < 64),
            Self::Bundle(bundle) => (bundle.path(), true),
        };
        if known && spelled == path { Ok(resource) } else { Err(Error::Path) }
    }
}

/// The bytes of a bundle: each entry after its length as two bytes, big-endian.
pub fn encode_bundle<E: AsRef<[u8]>>(entries: impl IntoIterator<Item = E>) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    for entry in entries {
        let entry = entry.as_ref();
        let len = u16::try_from(entry.len()).map_err(|_| Error::EntryTooLarge(entry.len()))?;
        out.extend(len.to_be_bytes());
        out.extend(entry);
    }
    Ok(out)
}

/// The entries of a bundle, 256 at most.
pub fn decode_bundle(mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let mut entries = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*len));
        let (entry, rest) = rest.split_at_checked(len).ok_or(Error::Bundle)?;
        entries.push(entry.to_vec());
        bytes = rest;
    }
    if !bytes.is_empty() || entries.len() > usize::from(TILE_WIDTH) {
        return Err(Error::Bundle);
    }
    Ok(entries)
}

/// The bundles that change when `entries` follow the first `size` ones. `last` is the bundle that was partial at `size`, if any was. Storage that
/// makes bundles from rows when they are asked for needs none of this.
pub fn extend_bundles<E: AsRef<[u8]>>(
    size: u64,
    last: &[u8],
    entries: impl IntoIterator<Item = E>,
) -> Result<Vec<(BundleId, Vec<u8>)>, Error> {
    let full = u64::from(TILE_WIDTH);
    if u64::try_from(decode_bundle(last)?.len()) != Ok(size % full) {
        return Err(Error::Bundle);
    }
    let mut bundles: Vec<(BundleId, Vec<u8>)> = Vec::new();
    let mut open = last.to_vec();
    let mut size = size;
    let mut entries = entries.into_iter().peekable();
    while let Some(entry) = entries.next() {
        open.extend(encode_bundle([entry])?);
        let id = BundleId { index: size / full, width: u16::try_from(size % full).unwrap_or(0) + 1 };
        size += 1;
        if id.width == TILE_WIDTH || entries.peek().is_none() {
            bundles.push((id, std::mem::take(&mut open)));
        }
    }
    Ok(bundles)
}

pub(crate) fn join(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

pub(crate) fn split(bytes: &[u8]) -> impl Iterator<Item = Digest> {
    let (hashes, _) = bytes.as_chunks::<HASH_LEN>();
    hashes.iter().map(|hash| Digest::from_bytes(*hash))
}

/// Three digits at a time, so that no folder of a static copy gets more than 3,000 names.
fn place(index: u64, width: u16) -> String {
    let mut text = format!("{:03}", index % 1_000);
    let mut rest = index / 1_000;
    while rest > 0 {
        text = format!("x{:03}/{text}", rest % 1_000);
        rest /= 1_000;
    }
    if width < TILE_WIDTH {
        text = format!("{text}.p/{width}");
    }
    text
}

fn parse_place(place: &str) -> Option<(u64, u16)> {
    let (number, width) = match place.split_once(".p/") {
        Some((number, width)) => (number, width.parse().ok()?),
        None => (place, TILE_WIDTH),
    };
    if !(1..=TILE_WIDTH).contains(&width) || number.len() > 40 {
        return None;
    }
    let index = number.split('/').try_fold(0_u64, |index, part| {
        let digits = part.strip_prefix('x').unwrap_or(part);
        index.checked_mul(1_000)?.checked_add(digits.parse().ok()?)
    })?;
    Some((index, width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_tlog_tiles() {
        let tile = TileId { level: 3, index: 1_234_067, width: 8 };
        assert_eq!(tile.path(), "tile/3/x001/x234/067.p/8");
        assert_eq!(Resource::parse(&tile.path()), Ok(Resource::Tile(tile)));
        let bundle = BundleId { index: 273, width: 256 };
        assert_eq!(bundle.path(), "tile/entries/273");
        assert_eq!(Resource::parse("tile/entries/273"), Ok(Resource::Bundle(bundle)));
        assert_eq!(bundle.entries(), 69_888..70_144);
    }

    #[test]
    fn another_spelling_is_another_path() {
        for path in [
            "tile/0/1",
            "tile/0/x000/001",
            "tile/00/001",
            "tile/+0/001",
            "tile/64/001",
            "tile/0/001.p/0",
            "tile/0/001.p/256",
            "tile/0/001.p/05",
            "tile/0/001.p/300",
            "tile/0/001/",
            "tile/0/../001",
            "tile/entries/x001",
            "tile/8/0/001/",
            "tile/data/001",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "checkpoint",
            "",
        ] {
            assert_eq!(Resource::parse(path), Err(Error::Path), "{path}");
        }
    }

    #[test]
    fn bundles_grow_and_read_back() {
        let entries: Vec<Vec<u8>> = (0..600_u16).map(|n| n.to_be_bytes().repeat(usize::from(n % 5))).collect();
        let mut stored: BTreeMap<u64, (u16, Vec<u8>)> = BTreeMap::new();
        let mut size = 0_usize;
        for step in [1, 255, 1, 300, 43] {
            let at = u64::try_from(size).unwrap();
            let open = stored.get(&(at / 256)).filter(|(width, _)| *width < TILE_WIDTH);
            let last = open.map_or(Vec::new(), |(_, bytes)| bytes.clone());
            let new = entries.get(size..size + step).unwrap();
            for (id, bytes) in extend_bundles(at, &last, new).unwrap() {
                assert_eq!(decode_bundle(&bytes).unwrap().len(), usize::from(id.width));
                stored.insert(id.index, (id.width, bytes));
            }
            size += step;
        }
        let all: Vec<_> = stored.values().flat_map(|(_, bytes)| decode_bundle(bytes).unwrap()).collect();
        assert_eq!(all, entries);
        assert_eq!(stored.len(), 3);
    }

    #[test]
    fn a_cut_bundle_is_refused() {
        let bytes = encode_bundle([b"abc", b"def"]).unwrap();
        for len in [1, 2, 4, 6, 9] {
            assert_eq!(decode_bundle(bytes.get(..len).unwrap()), Err(Error::Bundle));
        }
        assert_eq!(extend_bundles(1, &bytes, [b"x"]), Err(Error::Bundle));
        assert!(encode_bundle([vec![0; 65_536]]).is_err());
    }
}
