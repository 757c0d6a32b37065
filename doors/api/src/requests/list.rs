//! `GET /requests`, `GET /inbox`.

use axum::Json as Reply;
use axum::extract::State;
use countersign_engine::Engine;
use countersign_kit::{Caller, Listed, Paging, PagingQuery, Problem};

use crate::view::View;

/// The caller's own requests, newest first.
#[utoipa::path(get, path = "/api/countersign/v1/requests", tag = "requests", security(("bearer" = [])), params(PagingQuery),
    responses((status = 200, body = Listed<View>)))]
pub(crate) async fn mine(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    paging: Paging,
) -> Result<Reply<Listed<View>>, Problem> {
    Ok(Reply(paging.listed(engine.mine(&principal, paging.after(), paging.limit).await?)))
}

/// What waits for the caller's answer, the most urgent first. A part may hold fewer than `limit` and still have a `next_cursor`.
#[utoipa::path(get, path = "/api/countersign/v1/inbox", tag = "requests", security(("bearer" = [])), params(PagingQuery),
    responses((status = 200, body = Listed<View>)))]
pub(crate) async fn inbox(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    paging: Paging,
) -> Result<Reply<Listed<View>>, Problem> {
    Ok(Reply(paging.listed(engine.inbox(&principal, paging.after(), paging.limit).await?)))
}
