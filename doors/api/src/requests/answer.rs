//! `POST /requests/{id}/answer`.

use axum::Json as Reply;
use axum::extract::State;
use countersign_core::digest::Digest;
use countersign_core::ids::{ChallengeId, RequestId};
use countersign_engine::flow::Proof;
use countersign_engine::{Engine, EngineError};
use countersign_kit::{Caller, Json, PathId, Problem, SecretText};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::view::View;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerBody {
    /// `you.challenge` of the request.
    challenge: String,
    #[schema(value_type = String, format = Password)]
    code: SecretText,
    /// `digest` of the request that the answerer saw.
    digest: String,
}

/// Answers with a fresh factor: the requester confirms, somebody else approves. The last answer that is needed grants.
#[utoipa::path(post, path = "/api/countersign/v1/requests/{id}/answer", tag = "requests", security(("bearer" = [])),
    params(("id" = String, Path)), request_body = AnswerBody, responses(
        (status = 200, body = View),
        (status = 404, description = "not-found"),
        (status = 422, description = "answer-rejected, with `why` and `request`"),
        (status = 429, description = "too-many-attempts"),
    ))]
pub(crate) async fn answer(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    PathId(id): PathId<RequestId, 1>,
    Json(body): Json<AnswerBody>,
) -> Result<Reply<View>, Problem> {
    let proof = proof(body)?;
    match engine.answer(&principal, id, &proof).await {
        Ok(view) => Ok(Reply(view.into())),
        Err(error) => Err(rejected(error)),
    }
}

fn proof(AnswerBody { challenge, code, digest }: AnswerBody) -> Result<Proof, Problem> {
    let field =
        |name: &str, error: &dyn std::fmt::Display| Problem::malformed(format!("{name}: {error}")).with("field", name);
    let challenge: ChallengeId = challenge.parse().map_err(|error| field("challenge", &error))?;
    let digest: Digest = digest.parse().map_err(|error| field("digest", &error))?;
    Ok(Proof { challenge, code: code.into_secret(), digest })
}

/// With the request as it stands, so that the answerer need not ask again.
fn rejected(error: EngineError) -> Problem {
    match error {
        EngineError::AnswerRejected { why, view } => {
            let request = View::from((*view).clone());
            Problem::from(EngineError::AnswerRejected { why, view }).with("request", request)
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse as _;
    use countersign_core::canonical::Value;
    use countersign_core::decide::Rejection;
    use countersign_kit::Document;
    use http::StatusCode;

    async fn told(why: Rejection) -> (StatusCode, Value) {
        let view = Box::new(crate::view::tests::view());
        let response = rejected(EngineError::AnswerRejected { why, view }).into_response();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 100_000).await.expect("a body");
        (status, Value::parse(&body).expect("JSON"))
    }

    #[tokio::test]
    async fn a_rejection_says_why_in_a_word_and_shows_the_request() {
        for (why, word) in [
            (Rejection::Over("denied"), "over"),
            (Rejection::OwnRequest, "own-request"),
            (Rejection::NotEligible, "not-eligible"),
            (Rejection::AlreadyAnswered, "already-answered"),
            (Rejection::NotNeeded, "not-needed"),
            (Rejection::OtherRequest, "other-request"),
            (Rejection::WrongFactor, "wrong-factor"),
            (Rejection::UsedCode, "used-code"),
            (Rejection::Cooling, "cooling"),
            (Rejection::Relayed, "relayed"),
        ] {
            let (status, body) = told(why).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
            assert_eq!(body.get("slug").and_then(Value::as_str), Some("answer-rejected"));
            assert_eq!(body.get("why").and_then(Value::as_str), Some(word));
            let shown = body.get("request").and_then(|request| request.get("target")).and_then(Value::as_str);
            assert_eq!(shown, Some("web-1"));
        }
    }

    #[test]
    fn ids_and_digests_have_one_spelling() {
        let id = "0197a3c4-5b6d-7e8f-8a9b-0c1d2e3f4a5b";
        let digest = "a".repeat(64);
        let read = |challenge: &str, digest: &str| {
            let text = format!(r#"{{"challenge":"{challenge}","code":"123456","digest":"{digest}"}}"#);
            Document(Value::parse(text.as_bytes()).expect("JSON")).read().and_then(proof)
        };
        assert!(read(id, &digest).is_ok());
        assert!(read(&id.to_uppercase(), &digest).is_err());
        assert!(read(&id.replace('-', ""), &digest).is_err());
        assert!(read(id, &digest.to_uppercase()).is_err());
        assert!(read(id, "").is_err());
    }
}
