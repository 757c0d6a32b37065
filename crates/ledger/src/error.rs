use countersign_core::canonical::CanonicalError;

use crate::tiles::{SourceError, TileId};

/// What can go wrong here, but for receipts and walks, whose findings have types of their own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field's name in an entry.
    #[error("`{0}` cannot name a field of an entry: use lower-case letters, digits, `_`, `-` and `.`")]
    FieldName(String),
    /// The same field twice, be it clear or committed.
    #[error("an entry has the field `{0}` twice")]
    DuplicateField(String),
    /// The encoded entry does not fit its 16-bit length in a bundle.
    #[error("an entry of {0} bytes is over the limit of 65,535: shorten the clear fields")]
    EntryTooLarge(usize),
    /// Bytes that are not the canonical form of anything.
    #[error("not a ledger entry: {0}")]
    Canonical(#[from] CanonicalError),
    /// Canonical, but not of the shape of an entry.
    #[error("not a ledger entry: {0}")]
    EntryShape(&'static str),
    /// A log's name that cannot stand in a checkpoint.
    #[error("a log's name is not empty and holds no space, `+` or control character")]
    LogName,
    /// A verifier key that is not one.
    #[error("not a verifier key (`name+hash+base64`): {0}")]
    VerifierKey(&'static str),
    /// The private half did not sign.
    #[error("the checkpoint could not be signed: {0}")]
    Sign(String),
    /// The private half signed with another key than it names.
    #[error("the signature does not verify under the signer's own verifier key: check which key is loaded")]
    SignerMismatch,
    /// A signed checkpoint that does not parse.
    #[error("not a signed checkpoint: {0}")]
    Checkpoint(&'static str),
    /// A checkpoint without a valid signature of the log's key.
    #[error("the checkpoint is not signed by the key {0}")]
    Signature(String),
    /// A checkpoint of another log.
    #[error("the checkpoint belongs to the log `{found}`, not to `{expected}`")]
    Origin { expected: String, found: String },
    /// A proof that does not hold.
    #[error("the {0} proof does not hold")]
    Proof(&'static str),
    /// A proof in text that does not parse.
    #[error("not a tlog-proof: {0}")]
    ProofText(&'static str),
    /// An index or a size that the tree does not have.
    #[error("{0}")]
    Range(&'static str),
    /// A tile is missing or too short.
    #[error("the stored tile {0} is missing or too short: restore the database")]
    Tile(TileId),
    /// What is stored does not hash to the head that is stored with it.
    #[error(
        "the stored tiles do not hash to the root of size {size}: nothing may be signed on top of them, restore the database"
    )]
    Root { size: u64 },
    /// A path that names neither a tile nor a bundle.
    #[error("not the path of a tile or an entry bundle")]
    Path,
    /// A bundle that is cut or has bytes left over.
    #[error("a malformed entry bundle")]
    Bundle,
    /// Storage failed.
    #[error(transparent)]
    Source(#[from] SourceError),
}
