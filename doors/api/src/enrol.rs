//! `/enroll/totp`: a second factor of one's own.

use axum::Json as Reply;
use axum::extract::State;
use countersign_core::ids::AuthenticatorId;
use countersign_engine::Engine;
use countersign_kit::{Caller, Json, NoContent, PathId, Problem, Routes, SecretText};
use http::StatusCode;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) fn routes(routes: Routes<Engine>) -> Routes<Engine> {
    routes.post("/enroll/totp", begin).post("/enroll/totp/{id}", finish)
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Enrolment {
    authenticator: String,
    /// For a QR code. Shown once.
    otpauth: String,
    /// The secret in base32, to type.
    secret: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CodesBody {
    /// Two different codes, one after the other.
    #[schema(value_type = Vec<String>, min_items = 2, max_items = 2)]
    codes: [SecretText; 2],
}

/// Makes a TOTP secret for the caller. It proves nothing before it is finished.
#[utoipa::path(post, path = "/api/countersign/v1/enroll/totp", tag = "factors", security(("bearer" = [])), responses(
    (status = 201, body = Enrolment),
    (status = 403, description = "stale-session, not-permitted"),
))]
pub(crate) async fn begin(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    _: NoContent,
) -> Result<(StatusCode, Reply<Enrolment>), Problem> {
    let begun = engine.begin_enrolment(&principal).await?;
    let reply = Enrolment {
        authenticator: begun.authenticator.to_string(),
        otpauth: begun.otpauth.expose_secret().to_owned(),
        secret: begun.secret.expose_secret().to_owned(),
    };
    Ok((StatusCode::CREATED, Reply(reply)))
}

/// Shows two codes of it, after which it counts.
#[utoipa::path(post, path = "/api/countersign/v1/enroll/totp/{id}", tag = "factors", security(("bearer" = [])),
    params(("id" = String, Path, description = "the authenticator")), request_body = CodesBody, responses(
        (status = 204),
        (status = 400, description = "malformed"),
        (status = 404, description = "not-found"),
    ))]
pub(crate) async fn finish(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    PathId(id): PathId<AuthenticatorId, 0>,
    Json(CodesBody { codes }): Json<CodesBody>,
) -> Result<StatusCode, Problem> {
    engine.finish_enrolment(&principal, id, &codes.map(SecretText::into_secret)).await?;
    Ok(StatusCode::NO_CONTENT)
}
