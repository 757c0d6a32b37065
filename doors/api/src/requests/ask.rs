//! `POST /requests`.

use std::time::Duration;

use axum::Json as Reply;
use axum::extract::State;
use countersign_core::canonical::Value;
use countersign_engine::Engine;
use countersign_engine::flow::Ask;
use countersign_kit::{Caller, Document, Problem};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::asked;
use crate::idempotency::IdempotencyKey;
use crate::operation::operation;
use crate::view::View;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskBody {
    pub(super) action: String,
    pub(super) target: String,
    /// In canonical form. Of `command.run`: `{"argv":[..],"cwd":"..","user":".."}`.
    #[schema(value_type = Option<Object>)]
    pub(super) parameters: Option<Value>,
    /// Circumstances that an approver should see and that do not decide what happens.
    #[schema(value_type = Option<Object>)]
    pub(super) context: Option<Value>,
    pub(super) reason: Option<String>,
    /// A shorter time to answer than policy gives.
    pub(super) deadline_secs: Option<u64>,
}

/// Asks for an operation. A live grant or a waiting request of the caller for exactly the same is found again.
#[utoipa::path(post, path = "/api/countersign/v1/requests", tag = "requests", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)), request_body = AskBody, responses(
        (status = 201, body = View),
        (status = 200, body = View, description = "the same was asked before"),
        (status = 403, description = "refused-by-policy, not-permitted"),
        (status = 422, description = "idempotency-mismatch"),
    ))]
pub(crate) async fn ask(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    key: IdempotencyKey,
    document: Document,
) -> Result<(StatusCode, Reply<View>), Problem> {
    let idempotency = key.bind("ask", &document.0);
    let AskBody { action, target, parameters, context, reason, deadline_secs } = document.read()?;
    let operation = operation(&action, target, parameters, context)?;
    let deadline = deadline_secs.map(Duration::from_secs);
    Ok(asked(engine.ask(&principal, &Ask { operation, reason, deadline, idempotency, secret: None }).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<AskBody, Problem> {
        Document(Value::parse(text.as_bytes()).expect("JSON")).read()
    }

    #[test]
    fn two_amounts_past_2_53_stay_two_amounts() {
        let amount = |digits: &str| {
            let body = read(&format!(r#"{{"action":"pay","target":"x","parameters":{{"amount":{digits}}}}}"#));
            body.expect("a body").parameters.expect("parameters").canonical()
        };
        assert_ne!(amount("9007199254740992"), amount("9007199254740993"));
        assert_eq!(amount("9007199254740993"), amount(r#"{"$int":"9007199254740993"}"#));
        assert_ne!(amount("0.1"), amount("0.10000000000000000555"));
    }

    #[test]
    fn bytes_and_text_of_an_argv_stay_apart() {
        let argv = |item: &str| {
            let body = read(&format!(r#"{{"action":"command.run","target":"x","parameters":{{"argv":[{item}]}}}}"#));
            body.map(|body| body.parameters.expect("parameters"))
        };
        let bytes = argv(r#"{"$bytes":"/w=="}"#).expect("bytes");
        assert_eq!(bytes.get("argv"), Some(&Value::array([Value::Bytes(vec![255])])));
        assert!(argv(r#"{"$bytes":"/w"}"#).is_err() && argv(r#"{"$byte":"/w=="}"#).is_err());
    }

    #[test]
    fn unknown_fields_are_refused() {
        let problem = read(r#"{"action":"a","target":"b","requester":"bob"}"#).expect_err("refused");
        assert!(problem.detail().contains("requester"));
        assert!(read(r#"{"action":"a","target":"b","deadline_secs":-1}"#).is_err());
        assert!(read(r#"{"action":"a","target":"b","deadline_secs":1.5}"#).is_err());
    }
}
