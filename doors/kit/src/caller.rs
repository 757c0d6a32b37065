//! Who calls.

use axum::extract::{FromRef, FromRequestParts};
use countersign_core::principal::Principal;
use countersign_engine::Engine;
use http::request::Parts;

use crate::frame::Trail;
use crate::{Bearer, Problem, Source};

/// The authenticated caller. A handler that takes it is never run for anybody else, and never before its body is read.
#[derive(Clone, Debug)]
pub struct Caller(pub Principal);

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Engine: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let source = Source::from_request_parts(parts, state).await?;
        let Bearer(token) = Bearer::from_request_parts(parts, state).await?;
        let principal = Engine::from_ref(state).authenticate(&token, source.as_str()).await?;
        if let Some(trail) = parts.extensions.get::<Trail>() {
            trail.account(principal.name.to_string());
        }
        Ok(Self(principal))
    }
}
