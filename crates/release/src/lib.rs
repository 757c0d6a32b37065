//! What is let go. Each releaser makes one kind of thing from a grant and gives its fingerprint, so that the ledger can hold the one without the other.

mod command;

pub use command::{AUDIENCE, CommandGrant, GrantClaims, TYP};

/// Something went wrong before anything was let go.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error(transparent)]
    Keys(#[from] countersign_keys::KeysError),
}
