//! `POST /login`, `POST /logout`.

use axum::Json as Reply;
use axum::extract::State;
use countersign_engine::Engine;
use countersign_kit::{Caller, Json, NoContent, Problem, Routes, SecretText, Source};
use http::StatusCode;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) fn routes(routes: Routes<Engine>) -> Routes<Engine> {
    routes.post("/login", login).post("/logout", logout)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginBody {
    /// `alice`, or `realm:alice`.
    name: String,
    #[schema(value_type = String, format = Password)]
    password: SecretText,
    /// Needed when the answer without it is `code-needed`.
    #[schema(value_type = Option<String>)]
    code: Option<SecretText>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct LoggedIn {
    /// For `Authorization: Bearer`. Shown once.
    token: String,
    account: String,
    person: Option<String>,
    #[schema(format = DateTime)]
    expires_at: String,
    log: Log,
}

/// What a client pins at its first login.
#[derive(Serialize, ToSchema)]
pub(crate) struct Log {
    origin: String,
    /// The key of the log, as in the `signed-note` format.
    vkey: String,
}

/// Opens a session.
#[utoipa::path(post, path = "/api/countersign/v1/login", tag = "session", request_body = LoginBody, responses(
    (status = 200, body = LoggedIn),
    (status = 401, description = "login-refused, code-needed"),
    (status = 429, description = "too-many-attempts"),
))]
pub(crate) async fn login(
    State(engine): State<Engine>,
    source: Source,
    Json(body): Json<LoginBody>,
) -> Result<Reply<LoggedIn>, Problem> {
    let code = body.code.map(SecretText::into_secret);
    let login = engine.login(&body.name, body.password.into_secret(), code, source.as_str()).await?;
    let log = engine.log_info().await?;
    Ok(Reply(LoggedIn {
        token: login.token.expose_secret().to_owned(),
        account: login.principal.name.to_string(),
        person: login.principal.person.as_ref().map(|person| person.name.clone()),
        expires_at: login.expires_at.to_string(),
        log: Log { origin: log.origin, vkey: log.vkey },
    }))
}

/// Ends the session.
#[utoipa::path(post, path = "/api/countersign/v1/logout", tag = "session", security(("bearer" = [])), responses((status = 204)))]
pub(crate) async fn logout(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    _: NoContent,
) -> Result<StatusCode, Problem> {
    engine.logout(&principal).await?;
    Ok(StatusCode::NO_CONTENT)
}
