//! Errors as `application/problem+json` (RFC 9457).

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use countersign_core::time::Micros;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::{Map, Value as Json};

/// What kind of error: the last part of the problem's `type`, and what programs branch on. Each has one status and one title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slug {
    AnswerRejected,
    ClockApart,
    CodeNeeded,
    Conflict,
    DatabaseAway,
    DiskFull,
    Exists,
    GrantNotBegun,
    HeadersTooLarge,
    IdempotencyMismatch,
    Internal,
    LedgerBehind,
    LoginRefused,
    Malformed,
    MethodNotAllowed,
    NotFound,
    NotPermitted,
    ReceiptNotReady,
    RefusedByPolicy,
    Restored,
    SinkRefused,
    StaleSession,
    TooLarge,
    TooManyAttempts,
    TooManyWaiting,
    TooSlow,
    Unauthenticated,
    Unavailable,
    UnknownOutcome,
    UnsupportedMediaType,
}

impl Slug {
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    pub const fn status(self) -> StatusCode {
        self.row().1
    }

    pub const fn title(self) -> &'static str {
        self.row().2
    }

    const fn row(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::AnswerRejected => ("answer-rejected", StatusCode::UNPROCESSABLE_ENTITY, "the answer does not count"),
            Self::ClockApart => ("clock-apart", StatusCode::SERVICE_UNAVAILABLE, "the clocks disagree"),
            Self::CodeNeeded => ("code-needed", StatusCode::UNAUTHORIZED, "a code is needed as well"),
            Self::Conflict => ("conflict", StatusCode::CONFLICT, "the stage does not allow this"),
            Self::DatabaseAway => ("database-away", StatusCode::SERVICE_UNAVAILABLE, "the database can't be reached"),
            Self::DiskFull => ("disk-full", StatusCode::INSUFFICIENT_STORAGE, "the disk is full"),
            Self::Exists => ("exists", StatusCode::CONFLICT, "it exists already"),
            Self::GrantNotBegun => ("grant-not-begun", StatusCode::CONFLICT, "the grant has not begun"),
            Self::HeadersTooLarge => {
                ("headers-too-large", StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers")
            }
            Self::IdempotencyMismatch => {
                ("idempotency-mismatch", StatusCode::UNPROCESSABLE_ENTITY, "the key belongs to another request")
            }
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, "something went wrong inside"),
            Self::LedgerBehind => ("ledger-behind", StatusCode::SERVICE_UNAVAILABLE, "the ledger lags behind"),
            Self::LoginRefused => ("login-refused", StatusCode::UNAUTHORIZED, "login refused"),
            Self::Malformed => ("malformed", StatusCode::BAD_REQUEST, "malformed"),
            Self::MethodNotAllowed => ("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "wrong method"),
            Self::NotFound => ("not-found", StatusCode::NOT_FOUND, "not found"),
            Self::NotPermitted => ("not-permitted", StatusCode::FORBIDDEN, "not permitted"),
            Self::ReceiptNotReady => ("receipt-not-ready", StatusCode::CONFLICT, "the receipt is not ready"),
            Self::RefusedByPolicy => ("refused-by-policy", StatusCode::FORBIDDEN, "refused by policy"),
            Self::Restored => ("restored", StatusCode::SERVICE_UNAVAILABLE, "restored from a backup"),
            Self::SinkRefused => ("sink-refused", StatusCode::SERVICE_UNAVAILABLE, "a required sink took no record"),
            Self::StaleSession => ("stale-session", StatusCode::FORBIDDEN, "a fresh factor is needed"),
            Self::TooLarge => ("too-large", StatusCode::PAYLOAD_TOO_LARGE, "too large"),
            Self::TooManyAttempts => ("too-many-attempts", StatusCode::TOO_MANY_REQUESTS, "too many attempts"),
            Self::TooManyWaiting => ("too-many-waiting", StatusCode::TOO_MANY_REQUESTS, "too many calls wait"),
            Self::TooSlow => ("too-slow", StatusCode::REQUEST_TIMEOUT, "the body came too slowly"),
            Self::Unauthenticated => ("unauthenticated", StatusCode::UNAUTHORIZED, "log in first"),
            Self::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE, "not available now"),
            Self::UnknownOutcome => ("unknown-outcome", StatusCode::SERVICE_UNAVAILABLE, "the outcome is unknown"),
            Self::UnsupportedMediaType => {
                ("unsupported-media-type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported media type")
            }
        }
    }
}

/// An error for a caller: what happened and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    slug: Slug,
    detail: String,
    extras: Map<String, Json>,
    retry_after: Option<HeaderValue>,
    cause: Option<String>,
}

/// Why an answer is a 500: for the log alone. Travels with the response to the frame, which knows the request's id.
#[derive(Clone, Debug)]
pub(crate) struct Cause(pub(crate) String);

impl Problem {
    pub fn new(slug: Slug, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts { slug, detail: detail.into(), extras: Map::new(), retry_after: None, cause: None }))
    }

    /// A 400.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Slug::Malformed, detail)
    }

    /// A 500. `cause` goes to the log, never to the caller.
    pub fn internal(cause: impl Into<String>) -> Self {
        let mut problem = Self::new(
            Slug::Internal,
            "something went wrong inside; the server's log says what, under the x-request-id of this answer",
        );
        problem.0.cause = Some(cause.into());
        problem
    }

    /// Another member of the problem. What cannot be written as JSON is left out.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl serde::Serialize) -> Self {
        if let Ok(value) = serde_json::to_value(value) {
            self.0.extras.insert(name.to_owned(), value);
        }
        self
    }

    /// `Retry-After`, in seconds.
    #[must_use]
    pub fn retry_after(mut self, secs: u64) -> Self {
        self.0.retry_after = Some(HeaderValue::from(secs));
        self
    }

    /// `Retry-After` as a date, rounded up to the second: who comes back a moment early is refused again.
    #[must_use]
    pub fn retry_at(mut self, at: Micros) -> Self {
        let whole = at.plus(Duration::from_micros(999_999)).as_secs();
        let date = Timestamp::from_second(whole)
            .and_then(|at| DateTimePrinter::new().timestamp_to_rfc9110_string(&at))
            .ok()
            .and_then(|text| HeaderValue::try_from(text).ok());
        self.0.retry_after = date;
        self
    }

    pub fn slug(&self) -> Slug {
        self.0.slug
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Parts { slug, detail, extras, retry_after, cause } = *self.0;
        let status = slug.status();
        let mut body = extras;
        // The standard members last: an extra must not hide one.
        body.insert("type".into(), format!("urn:countersign:problem:{}", slug.as_str()).into());
        body.insert("title".into(), slug.title().into());
        body.insert("status".into(), status.as_u16().into());
        body.insert("detail".into(), detail.into());
        body.insert("slug".into(), slug.as_str().into());
        let mut response = (status, Json::Object(body).to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(when) = retry_after {
            headers.insert(RETRY_AFTER, when);
        }
        if let Some(cause) = cause {
            response.extensions_mut().insert(Cause(cause));
        }
        response
    }
}

/// The fallback for paths that nobody serves.
pub async fn not_found() -> Problem {
    Problem::new(Slug::NotFound, "there is nothing at this path")
}

/// The fallback for methods that a path does not have. The router adds `Allow`.
pub async fn wrong_method() -> Problem {
    Problem::new(Slug::MethodNotAllowed, "this path does not take this method; see the Allow header")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;

    async fn parts(problem: Problem) -> (http::response::Parts, Json) {
        let (parts, body) = problem.into_response().into_parts();
        let bytes = to_bytes(body, 10_000).await.expect("a body");
        (parts, serde_json::from_slice(&bytes).expect("JSON"))
    }

    #[tokio::test]
    async fn an_extra_never_hides_a_standard_member() {
        let (head, body) = parts(Problem::malformed("no").with("status", 200).with("offset", 7).retry_after(3)).await;
        insta::assert_json_snapshot!(body, @r#"
        {
          "detail": "no",
          "offset": 7,
          "slug": "malformed",
          "status": 400,
          "title": "malformed",
          "type": "urn:countersign:problem:malformed"
        }
        "#);
        assert_eq!(head.headers[RETRY_AFTER], "3");
        assert_eq!(head.headers[CONTENT_TYPE], "application/problem+json");
    }

    #[tokio::test]
    async fn the_cause_of_a_500_stays_inside() {
        let (head, body) = parts(Problem::internal("table persons is gone")).await;
        assert!(!body.to_string().contains("persons"));
        assert_eq!(head.extensions.get::<Cause>().map(|cause| cause.0.as_str()), Some("table persons is gone"));
    }

    #[tokio::test]
    async fn a_date_to_come_back_is_never_too_early() {
        let (head, _) = parts(Problem::malformed("no").retry_at(Micros::from_micros(784_111_777_000_001))).await;
        // The example of RFC 9110, section 5.6.7, one second later.
        assert_eq!(head.headers[RETRY_AFTER], "Sun, 06 Nov 1994 08:49:38 GMT");
    }

    #[tokio::test]
    async fn a_401_says_how_to_authenticate() {
        let (head, _) = parts(Problem::new(Slug::LoginRefused, "no")).await;
        assert_eq!(head.headers[WWW_AUTHENTICATE], "Bearer");
    }
}
