//! The header `Idempotency-Key`.

use axum::extract::FromRequestParts;
use countersign_core::canonical::Value;
use countersign_core::digest::Digest;
use countersign_engine::flow::Idempotency;
use countersign_kit::Problem;
use http::request::Parts;

const HEADER: &str = "idempotency-key";
const LIMIT: usize = 255;

/// The caller's own key for a call that may arrive twice, if any.
#[derive(Clone, Debug)]
pub(crate) struct IdempotencyKey(Option<String>);

impl IdempotencyKey {
    /// Bound to what is sent and where: `call` keeps equal bodies of two paths apart. `body` must hold no secret, because its digest is stored.
    pub(crate) fn bind(self, call: &str, body: &Value) -> Option<Idempotency> {
        let bound = Value::object([("call", Value::from(call)), ("body", body.clone())]);
        self.0.map(|key| Idempotency { key, body: Digest::sha256(&bound.canonical()) })
    }
}

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        let fits = |key: &&str| (1..=LIMIT).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        match (value.to_str().ok().filter(fits), values.next()) {
            (Some(key), None) => Ok(Self(Some(key.to_owned()))),
            _ => Err(Problem::malformed(format!("send one Idempotency-Key of 1 to {LIMIT} visible ASCII characters"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(values: &[&str]) -> Result<IdempotencyKey, Problem> {
        let request = values.iter().fold(http::Request::builder(), |request, value| request.header(HEADER, *value));
        let (mut parts, ()) = request.body(()).expect("a request").into_parts();
        IdempotencyKey::from_request_parts(&mut parts, &()).await
    }

    #[tokio::test]
    async fn at_most_one_key_that_can_be_read() {
        assert_eq!(read(&[]).await.expect("none").0, None);
        assert_eq!(read(&["k-1"]).await.expect("one").0.as_deref(), Some("k-1"));
        let long = "x".repeat(LIMIT + 1);
        for bad in [&["a", "a"][..], &[""], &["a b"], &["\u{e9}"], &[&long]] {
            assert!(read(bad).await.is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_same_body_elsewhere_is_another_call() {
        let bind = |call: &str, body: i64| {
            IdempotencyKey(Some("k".into())).bind(call, &Value::from(body)).map(|bound| bound.body)
        };
        assert_eq!(bind("ask", 1), bind("ask", 1));
        assert_ne!(bind("ask", 1), bind("admin", 1));
        assert_ne!(bind("ask", 1), bind("ask", 2));
    }
}
