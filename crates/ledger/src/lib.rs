//! A transparency log of what happened: entries, an RFC 6962 Merkle tree in tiles, signed checkpoints, proofs, receipts and the check of them all.
//!
//! Everything is pure: bytes in, bytes out. Storage is a [`TileSource`], a private key is a [`Signer`], time and salts arrive within the draft.
//! The formats are those of C2SP (`tlog-tiles`, `tlog-checkpoint`, `signed-note`, `tlog-proof`), so that other people's verifiers work on this log.
//!
//! How the parts follow each other:
//!
//! 1. [`encode`] turns a draft into the bytes of a leaf and the openings of its commitments.
//! 2. [`Frontier::extend`] adds leaves to the tree; what it returns is written in the same transaction as the new size and root.
//! 3. [`Checkpoint::sign`] makes the head public.
//! 4. [`prove_inclusion`] and [`Receipt`] hand it to people; [`Receipt::verify`] and [`verify_log`] need no server.

mod checkpoint;
mod entry;
mod epoch;
mod error;
mod key;
mod proof;
mod receipt;
mod tiles;
mod tree;
mod walk;

pub use checkpoint::{Checkpoint, SignedCheckpoint, log_origin};
pub use entry::{ENTRY_LIMIT, EncodedEntry, Entry, Opening, decode, encode};
pub use epoch::EpochLink;
pub use error::Error;
pub use key::{SignError, Signer, VerifierKey};
pub use proof::{
    TlogProof, consistency_tiles, inclusion_tiles, prove_consistency, prove_inclusion, verify_consistency,
    verify_inclusion,
};
pub use receipt::{
    EarlierLog, EntryFault, RECEIPT_LIMIT, Receipt, ReceiptEntry, ReceiptError, Trust, Verified, VerifiedEntry,
};
pub use tiles::{
    BundleId, Resource, SourceError, TILE_WIDTH, TileId, TileMap, TileSource, decode_bundle, encode_bundle,
    extend_bundles,
};
pub use tree::{Frontier, MAX_TREE_SIZE, TreeHead, empty_root, leaf_hash};
pub use walk::{Break, Intact, KnownCheckpoint, LogWalker, verify_log};

#[cfg(test)]
mod testing;
