//! `POST /requests/{id}/release`.

use axum::Json as Reply;
use axum::extract::State;
use countersign_core::ids::RequestId;
use countersign_engine::Engine;
use countersign_engine::flow::RENEW_EVERY;
use countersign_kit::{Caller, NoContent, PathId, Problem};
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub(crate) struct Released {
    release: String,
    /// The signed grant, a JWT. Shown once.
    grant: String,
    /// Until when to renew or to report; null where there is nothing to report.
    #[schema(format = DateTime)]
    lease_until: Option<String>,
    renew_every_secs: u64,
}

/// Uses the grant once. The intent is durable before this answers.
#[utoipa::path(post, path = "/api/countersign/v1/requests/{id}/release", tag = "requests", security(("bearer" = [])),
    params(("id" = String, Path)), responses(
        (status = 200, body = Released),
        (status = 403, description = "refused-by-policy, not-permitted"),
        (status = 404, description = "not-found"),
        (status = 409, description = "conflict, grant-not-begun"),
        (status = 503, description = "ledger-behind, sink-refused, unknown-outcome"),
    ))]
pub(crate) async fn release(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    PathId(id): PathId<RequestId, 1>,
    _: NoContent,
) -> Result<Reply<Released>, Problem> {
    let released = engine.release(&principal, id).await?;
    Ok(Reply(Released {
        release: released.release.to_string(),
        grant: released.grant.expose_secret().to_owned(),
        lease_until: released.lease_until.map(|at| at.to_string()),
        renew_every_secs: RENEW_EVERY.as_secs(),
    }))
}
