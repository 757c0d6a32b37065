//! `/tokens`: credentials for programs.

use std::time::Duration;

use axum::Json as Reply;
use axum::extract::State;
use countersign_core::identity;
use countersign_core::ids::TokenId;
use countersign_engine::Engine;
use countersign_kit::{Caller, Json, Listed, Paging, PagingQuery, PathId, Problem, Routes};
use http::StatusCode;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) fn routes(routes: Routes<Engine>) -> Routes<Engine> {
    routes.post("/tokens", create).get("/tokens", list).delete("/tokens/{id}", revoke)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenBody {
    name: String,
    /// Actions that it may ask for: an exact one, `prefix.*`, or `*`.
    scopes: Vec<String>,
    ttl_secs: u64,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct NewToken {
    id: String,
    /// Shown once.
    token: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Token {
    id: String,
    name: String,
    scopes: Vec<String>,
    #[schema(format = DateTime)]
    expires_at: String,
    revoked: bool,
}

/// Makes a token that acts for the caller. It fills no slot.
#[utoipa::path(post, path = "/api/countersign/v1/tokens", tag = "tokens", security(("bearer" = [])), request_body = TokenBody, responses(
    (status = 201, body = NewToken),
    (status = 403, description = "stale-session, not-permitted"),
))]
pub(crate) async fn create(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    Json(body): Json<TokenBody>,
) -> Result<(StatusCode, Reply<NewToken>), Problem> {
    let TokenBody { name, scopes, ttl_secs } = body;
    let made = engine.create_token(&principal, &name, scopes, Duration::from_secs(ttl_secs)).await?;
    let reply = NewToken {
        id: made.id.to_string(),
        token: made.token.expose_secret().to_owned(),
        expires_at: made.expires_at.to_string(),
    };
    Ok((StatusCode::CREATED, Reply(reply)))
}

/// The caller's tokens, oldest first; all of them for an administrator.
#[utoipa::path(get, path = "/api/countersign/v1/tokens", tag = "tokens", security(("bearer" = [])), params(PagingQuery),
    responses((status = 200, body = Listed<Token>)))]
pub(crate) async fn list(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    paging: Paging,
) -> Result<Reply<Listed<Token>>, Problem> {
    Ok(Reply(paging.listed(engine.tokens(&principal, paging.after(), paging.limit).await?)))
}

/// Ends a token at once.
#[utoipa::path(delete, path = "/api/countersign/v1/tokens/{id}", tag = "tokens", security(("bearer" = [])),
    params(("id" = String, Path)), responses((status = 204), (status = 404, description = "not-found")))]
pub(crate) async fn revoke(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    PathId(id): PathId<TokenId, 0>,
) -> Result<StatusCode, Problem> {
    engine.revoke_token(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<identity::Token> for Token {
    fn from(token: identity::Token) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name,
            scopes: token.scopes,
            expires_at: token.expires_at.to_string(),
            revoked: token.revoked_at.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::digest::Digest;
    use countersign_core::ids::AccountId;
    use countersign_core::time::Micros;

    #[test]
    fn a_listed_token_tells_nothing_of_its_value() {
        let at = Micros::from_secs(1);
        let hash = Digest::sha256(b"value");
        let wire = Token::from(identity::Token {
            id: TokenId::new(at, [1; 10]),
            hash,
            name: "ci".into(),
            owner: AccountId::new(at, [2; 10]),
            scopes: vec!["command.*".into()],
            created_at: at,
            expires_at: Micros::from_secs(60),
            revoked_at: None,
        });
        insta::assert_json_snapshot!(wire, @r#"
        {
          "id": "00000000-03e8-7101-8101-010101010101",
          "name": "ci",
          "scopes": [
            "command.*"
          ],
          "expires_at": "1970-01-01T00:01:00Z",
          "revoked": false
        }
        "#);
        assert!(!serde_json::to_string(&wire).expect("JSON").contains(&hash.to_string()));
    }
}
