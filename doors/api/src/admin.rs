//! `POST /admin`: a change of Countersign itself, asked for like any other operation.

use axum::Json as Reply;
use axum::extract::State;
use countersign_core::canonical::Value;
use countersign_engine::Engine;
use countersign_engine::identity::Change;
use countersign_kit::json::from_value;
use countersign_kit::{Caller, Document, Problem, Routes};
use http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::idempotency::IdempotencyKey;
use crate::requests::asked;
use crate::view::View;

/// The one member of a change that never becomes part of the operation.
const PASSWORD: &str = "password";

pub(crate) fn routes(routes: Routes<Engine>) -> Routes<Engine> {
    routes.post("/admin", admin)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdminBody {
    /// `kind` says which change, the other members what it needs: `person_add{name,password,groups?}`, `person_disable{name}`, `person_enable{name}`,
    /// `person_remove{name}`, `person_erase{name}`, `password_set{name,password}`, `factor_reset{name}`, `throttle_clear{name}`, `group_add{group}`, `group_remove{group}`,
    /// `member_add{group,person}`, `member_remove{group,person}`, `service_add{name}`, `service_token_add{service,name,scopes,ttl_secs,sha256}`,
    /// `account_link{account,person}`, `policy_apply{text}`, `release_close{release,reason}`.
    #[schema(value_type = Object)]
    change: Value,
    reason: Option<String>,
}

/// Asks for a change. The administrator confirms it by answering the request; from the second administrator on another one approves.
#[utoipa::path(post, path = "/api/countersign/v1/admin", tag = "administration", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)), request_body = AdminBody, responses(
        (status = 201, body = View),
        (status = 200, body = View, description = "the same call was made before"),
        (status = 403, description = "not-permitted, refused-by-policy, stale-session"),
        (status = 409, description = "exists"),
        (status = 422, description = "idempotency-mismatch"),
    ))]
pub(crate) async fn admin(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    key: IdempotencyKey,
    Document(body): Document,
) -> Result<(StatusCode, Reply<View>), Problem> {
    let Split { change, reason, secret, public } = split(body)?;
    let idempotency = key.bind("admin", &public);
    Ok(asked(engine.administer(&principal, change, secret, reason, idempotency).await?))
}

struct Split {
    change: Change,
    reason: Option<String>,
    secret: Option<SecretString>,
    /// The body without its secret. What is stored to recognise a retry is a digest of this: a digest of a password would be a gift to whoever reads
    /// the database.
    public: Value,
}

fn split(mut body: Value) -> Result<Split, Problem> {
    let password = match &mut body {
        Value::Object(members) => match members.get_mut("change") {
            Some(Value::Object(change)) => change.remove(PASSWORD),
            _ => None,
        },
        _ => None,
    };
    let AdminBody { change, reason } = Document(body.clone()).read()?;
    let change: Change = from_value(change).map_err(|error| field(&error.path(), &error.to_string()))?;
    let secret = match (change.takes_password(), password) {
        (true, Some(Value::String(password))) => Some(SecretString::from(password)),
        (true, Some(_)) => return Err(field(PASSWORD, "password: expected a string")),
        (true, None) => return Err(field("", "the field `password` is missing")),
        (false, Some(_)) => return Err(field("", "this change takes no password")),
        (false, None) => None,
    };
    Ok(Split { change, reason, secret, public: body })
}

fn field(path: &str, detail: &str) -> Problem {
    let path = if path.is_empty() { "change".to_owned() } else { format!("change.{path}") };
    Problem::malformed(format!("change: {detail}")).with("field", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn read(text: &str) -> Result<Split, Problem> {
        split(Value::parse(text.as_bytes()).expect("JSON"))
    }

    #[test]
    fn a_password_goes_beside_the_change_and_into_no_digest() {
        let text = r#"{"change":{"kind":"person_add","name":"dora","password":"s3cret","groups":["local:security"]},"reason":"new"}"#;
        let split = read(text).expect("a change");
        assert_eq!(split.secret.expect("a password").expose_secret(), "s3cret");
        assert!(!format!("{:?}{:?}", split.change, split.public).contains("s3cret"));
        assert!(matches!(split.change, Change::PersonAdd { name, groups } if name == "dora" && groups.len() == 1));
        assert_eq!(split.reason.as_deref(), Some("new"));
    }

    #[test]
    fn only_what_takes_a_password_gets_one() {
        for (text, detail) in [
            (
                r#"{"change":{"kind":"person_disable","name":"dora","password":"s3cret"}}"#,
                "this change takes no password",
            ),
            (r#"{"change":{"kind":"password_set","name":"dora"}}"#, "the field `password` is missing"),
            (
                r#"{"change":{"kind":"password_set","name":"dora","password":["s3cret"]}}"#,
                "password: expected a string",
            ),
        ] {
            let problem = read(text).err().expect("refused");
            assert_eq!(problem.detail(), format!("change: {detail}"));
        }
    }

    #[test]
    fn whatever_is_unknown_is_refused() {
        for text in [
            "[]",
            r#"{"change":{"kind":"person_add","name":"dora","password":"s3cret","admin":true}}"#,
            r#"{"change":{"kind":"person_promote","name":"dora"}}"#,
            r#"{"change":{"kind":"group_add","group":"security"}}"#,
            r#"{"change":{"kind":"person_disable","name":"dora"},"force":true}"#,
            r#"{"change":"person_disable"}"#,
            r#"{"password":"s3cret"}"#,
        ] {
            let problem = read(text).err().expect(text);
            assert!(!problem.detail().contains("s3cret"), "{}", problem.detail());
        }
    }
}
