//! Strict JSON bodies.
//!
//! A body is read by the parser that the digests are made over, not by a second one: two readers that disagree about one text are how somebody
//! approves one thing and another happens.

mod from_value;

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::response::IntoResponse as _;
use countersign_core::canonical::Value;
use countersign_core::digest::Digest;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{Problem, Slug};

pub use from_value::{FieldError, from_value};

/// Bytes of a body, if a route does not say otherwise.
pub const BODY_LIMIT: usize = 256 * 1024;
/// A body that takes longer is somebody holding a connection open.
const BODY_TIME: Duration = Duration::from_secs(30);

/// A body as a plain JSON value, exactly as it was sent: numbers keep all their digits, `$` forms are not undone.
#[derive(Clone, Debug)]
pub struct Document(pub Value);

/// A body as `T`; give `T` `deny_unknown_fields`. A field of type [`Value`] takes the canonical form, where `{"$int":".."}` is a number, and loses nothing.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

/// For calls that have nothing to say: no body, or `{}`.
#[derive(Clone, Copy, Debug)]
pub struct NoContent;

impl Document {
    pub fn read<T: DeserializeOwned>(self) -> Result<T, Problem> {
        from_value(self.0).map_err(|error| Problem::malformed(error.to_string()).with("field", error.path()))
    }

    /// SHA-256 of the value in canonical form: the same body sent again has the same, however it is laid out.
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.0.canonical())
    }
}

impl<S: Send + Sync> FromRequest<S> for Document {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        check_type(request.headers())?;
        let bytes = read(request, state, BODY_TIME).await?;
        parse(&bytes).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Document::from_request(request, state).await?.read().map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for NoContent {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let checked = check_type(request.headers());
        let bytes = read(request, state, BODY_TIME).await?;
        if bytes.is_empty() {
            return Ok(Self);
        }
        checked?;
        match parse(&bytes)? {
            Value::Object(members) if members.is_empty() => Ok(Self),
            _ => Err(Problem::malformed("this call takes no body, or an empty object")),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    Value::parse(bytes).map_err(|error| Problem::malformed(error.to_string()).with("offset", error.offset))
}

async fn read<S: Send + Sync>(request: Request, state: &S, time: Duration) -> Result<Bytes, Problem> {
    let slow = || Problem::new(Slug::TooSlow, "the body did not arrive in time; send it at once");
    let bytes = timeout(time, Bytes::from_request(request, state)).await.map_err(|_| slow())?;
    bytes.map_err(|rejection| match rejection.into_response().status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Slug::TooLarge, "the body is larger than this path takes"),
        _ => Problem::malformed("the body did not arrive whole"),
    })
}

/// Only one media type is taken: a browser form of another site can't send it without asking first.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let is_json = match (types.next(), types.next()) {
        (Some(value), None) => value.to_str().is_ok_and(|value| {
            let (essence, parameters) = value.split_once(';').unwrap_or((value, "charset=utf-8"));
            let charset = parameters.trim().to_ascii_lowercase();
            essence.trim().eq_ignore_ascii_case("application/json")
                && matches!(charset.as_str(), "charset=utf-8" | "charset=\"utf-8\"")
        }),
        _ => false,
    };
    let refused =
        || Problem::new(Slug::UnsupportedMediaType, "send JSON in UTF-8, with Content-Type: application/json");
    is_json.then_some(()).ok_or_else(refused)
}

#[cfg(test)]
mod tests;
