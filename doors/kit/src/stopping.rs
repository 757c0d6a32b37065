//! Whether the server is about to stop: held calls end early instead of being cut off.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;
use tokio_util::sync::CancellationToken;

/// Resolves when the server begins to stop.
#[derive(Clone, Debug)]
pub struct Stopping(pub(crate) CancellationToken);

impl Stopping {
    /// Pending until then. In a request that no server carried, for ever.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }

    pub fn has_begun(&self) -> bool {
        self.0.is_cancelled()
    }
}

impl<S: Sync> FromRequestParts<S> for Stopping {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(|| Self(CancellationToken::new())))
    }
}
