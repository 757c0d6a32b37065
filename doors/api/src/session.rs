//! `POST /session/fresh`.

use axum::extract::State;
use countersign_engine::Engine;
use countersign_kit::{Caller, Json, Problem, Routes, SecretText};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

pub(crate) fn routes(routes: Routes<Engine>) -> Routes<Engine> {
    routes.post("/session/fresh", fresh)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FreshBody {
    /// A code of the caller's authenticator. Who has none yet logs in again instead.
    #[schema(value_type = String, format = Password)]
    code: SecretText,
}

/// Proves a factor again: enrolment, tokens and administration want one that is at most five minutes old.
#[utoipa::path(post, path = "/api/countersign/v1/session/fresh", tag = "session", security(("bearer" = [])),
    request_body = FreshBody, responses(
        (status = 204),
        (status = 401, description = "login-refused"),
        (status = 403, description = "not-permitted"),
        (status = 429, description = "too-many-attempts"),
    ))]
pub(crate) async fn fresh(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    Json(body): Json<FreshBody>,
) -> Result<StatusCode, Problem> {
    engine.freshen(&principal, &body.code.into_secret()).await?;
    Ok(StatusCode::NO_CONTENT)
}
