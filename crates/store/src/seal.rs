//! Where sealed values lie. What seals them binds table, column and row into the ciphertext, so that none can be moved to another place.

pub use crate::tables::accounts::ACCOUNT_PASSWORD;
pub use crate::tables::authenticators::AUTHENTICATOR_SECRET;
pub use crate::tables::keys::SIGNING_KEY_PRIVATE;
pub use crate::tables::requests::REQUEST_SEALED;

/// A column of sealed values. These names are part of what is authenticated: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedColumn {
    pub table: &'static str,
    pub column: &'static str,
}
