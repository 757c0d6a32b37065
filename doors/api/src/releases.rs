//! `/releases/{id}`: a use of a grant, followed to its end.

use axum::Json as Reply;
use axum::extract::State;
use countersign_core::ids::ReleaseId;
use countersign_engine::Engine;
use countersign_kit::{Caller, Json, NoContent, PathId, Problem, Routes};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::view::View;

pub(crate) fn routes(routes: Routes<Engine>) -> Routes<Engine> {
    routes.post("/releases/{id}/renew", renew).post("/releases/{id}/result", result)
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Lease {
    #[schema(format = DateTime)]
    lease_until: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResultBody {
    /// How it ended, for example `exit 0` or `signal 15`.
    outcome: String,
}

/// Says that the client is still at it. A release whose lease ends is in doubt.
#[utoipa::path(post, path = "/api/countersign/v1/releases/{id}/renew", tag = "releases", security(("bearer" = [])),
    params(("id" = String, Path)), responses(
        (status = 200, body = Lease),
        (status = 403, description = "not-permitted"),
        (status = 404, description = "not-found"),
        (status = 409, description = "conflict"),
    ))]
pub(crate) async fn renew(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    PathId(id): PathId<ReleaseId, 1>,
    _: NoContent,
) -> Result<Reply<Lease>, Problem> {
    let lease_until = engine.renew(&principal, id).await?.to_string();
    Ok(Reply(Lease { lease_until }))
}

/// Says how it ended, also late.
#[utoipa::path(post, path = "/api/countersign/v1/releases/{id}/result", tag = "releases", security(("bearer" = [])),
    params(("id" = String, Path)), request_body = ResultBody, responses(
        (status = 200, body = View),
        (status = 403, description = "not-permitted"),
        (status = 404, description = "not-found"),
        (status = 409, description = "conflict"),
    ))]
pub(crate) async fn result(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    PathId(id): PathId<ReleaseId, 1>,
    Json(body): Json<ResultBody>,
) -> Result<Reply<View>, Problem> {
    Ok(Reply(engine.report(&principal, id, &body.outcome).await?.into()))
}
