//! `POST /requests/explain`.

use axum::Json as Reply;
use axum::extract::State;
use countersign_engine::Engine;
use countersign_kit::{Caller, Json, Problem};

use super::AskBody;
use crate::explanation::Explanation;
use crate::operation::operation;

/// What asking for this would take, and who could answer. Nothing is asked.
#[utoipa::path(post, path = "/api/countersign/v1/requests/explain", tag = "requests", security(("bearer" = [])), request_body = AskBody,
    responses((status = 200, body = Explanation)))]
pub(crate) async fn explain_request(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    Json(body): Json<AskBody>,
) -> Result<Reply<Explanation>, Problem> {
    let operation = operation(&body.action, body.target, body.parameters, body.context)?;
    Ok(Reply(engine.explain(&principal, None, &operation, body.reason.as_deref()).await?.into()))
}
