//! `GET /requests`, `GET /inbox`.

use axum::Json as Reply;
use axum::extract::State;
use countersign_engine::Engine;
use countersign_kit::{Caller, Problem, QueryString};
use serde::Deserialize;

use crate::view::Page;

const LIMIT: u32 = 50;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    /// At most this many; 50 if not given, 200 at most.
    limit: Option<u32>,
    /// The `next` of the part before.
    cursor: Option<String>,
}

/// The caller's own requests, newest first.
#[utoipa::path(get, path = "/api/countersign/v1/requests", tag = "requests", security(("bearer" = [])), params(
        ("limit" = Option<u32>, Query, description = "50 if not given, 200 at most"),
        ("cursor" = Option<String>, Query, description = "the `next` of the part before"),
    ),
    responses((status = 200, body = Page)))]
pub(crate) async fn mine(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    QueryString(Part { limit, cursor }): QueryString<Part>,
) -> Result<Reply<Page>, Problem> {
    Ok(Reply(engine.mine(&principal, cursor.as_deref(), limit.unwrap_or(LIMIT)).await?.into()))
}

/// What waits for the caller's answer, the most urgent first. A part may hold fewer than `limit` and still have a `next`.
#[utoipa::path(get, path = "/api/countersign/v1/inbox", tag = "requests", security(("bearer" = [])), params(
        ("limit" = Option<u32>, Query, description = "50 if not given, 200 at most"),
        ("cursor" = Option<String>, Query, description = "the `next` of the part before"),
    ),
    responses((status = 200, body = Page)))]
pub(crate) async fn inbox(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    QueryString(Part { limit, cursor }): QueryString<Part>,
) -> Result<Reply<Page>, Problem> {
    Ok(Reply(engine.inbox(&principal, cursor.as_deref(), limit.unwrap_or(LIMIT)).await?.into()))
}
