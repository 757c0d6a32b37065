//! `POST /requests/{id}/deny`, `/cancel`, `/revoke`.

use axum::Json as Reply;
use axum::extract::State;
use countersign_core::ids::RequestId;
use countersign_engine::Engine;
use countersign_kit::{Caller, Json, NoContent, PathId, Problem};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::view::View;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DenyBody {
    why: Option<String>,
}

/// Denies, for good. Takes no factor: whoever may approve may stop it.
#[utoipa::path(post, path = "/api/countersign/v1/requests/{id}/deny", tag = "requests", security(("bearer" = [])),
    params(("id" = String, Path)), request_body = DenyBody, responses(
        (status = 200, body = View),
        (status = 403, description = "not-permitted"),
        (status = 404, description = "not-found"),
        (status = 409, description = "conflict"),
    ))]
pub(crate) async fn deny(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    PathId(id): PathId<RequestId, 1>,
    Json(body): Json<DenyBody>,
) -> Result<Reply<View>, Problem> {
    Ok(Reply(engine.deny(&principal, id, body.why.as_deref()).await?.into()))
}

/// Takes the caller's own request back.
#[utoipa::path(post, path = "/api/countersign/v1/requests/{id}/cancel", tag = "requests", security(("bearer" = [])),
    params(("id" = String, Path)), responses(
        (status = 200, body = View),
        (status = 403, description = "not-permitted"),
        (status = 404, description = "not-found"),
        (status = 409, description = "conflict"),
    ))]
pub(crate) async fn cancel(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    PathId(id): PathId<RequestId, 1>,
    _: NoContent,
) -> Result<Reply<View>, Problem> {
    Ok(Reply(engine.cancel(&principal, id).await?.into()))
}

/// Takes a grant back. What was released already is not undone by it.
#[utoipa::path(post, path = "/api/countersign/v1/requests/{id}/revoke", tag = "requests", security(("bearer" = [])),
    params(("id" = String, Path)), responses(
        (status = 200, body = View),
        (status = 403, description = "not-permitted"),
        (status = 404, description = "not-found"),
        (status = 409, description = "conflict"),
    ))]
pub(crate) async fn revoke_grant(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    PathId(id): PathId<RequestId, 1>,
    _: NoContent,
) -> Result<Reply<View>, Problem> {
    Ok(Reply(engine.revoke(&principal, id).await?.into()))
}
