//! `GET /requests/{id}`.

use axum::Json as Reply;
use axum::extract::State;
use countersign_core::ids::RequestId;
use countersign_engine::Engine;
use countersign_kit::{Caller, PathId, Problem};

use crate::view::View;

/// One request. What the caller may not see does not exist.
#[utoipa::path(get, path = "/api/countersign/v1/requests/{id}", tag = "requests", security(("bearer" = [])), params(("id" = String, Path)),
    responses((status = 200, body = View), (status = 404, description = "not-found")))]
pub(crate) async fn show_request(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    PathId(id): PathId<RequestId, 0>,
) -> Result<Reply<View>, Problem> {
    Ok(Reply(engine.show(&principal, id).await?.into()))
}
