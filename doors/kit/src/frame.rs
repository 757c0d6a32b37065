//! What goes round every answer: an id, headers, a line in the access log, and a net under panics.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use countersign_engine::Metrics;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use tokio::time::Instant;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{Instrument, info_span};

use crate::json::BODY_LIMIT;
use crate::problem::{Cause, not_found, wrong_method};
use crate::{Problem, Slug, Source};

/// Headers of one request; HTTP/1 refuses more before it gets here.
pub(crate) const HEADER_COUNT: usize = 100;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Where request ids come from: what the caller of [`Frame::new`] chose for this start of the process, and a number. They name a line of the log and
/// protect nothing, so that they can be guessed does not matter.
#[derive(Clone, Debug)]
pub struct Frame {
    prefix: Arc<str>,
    next: Arc<AtomicU64>,
    metrics: Option<Metrics>,
}

impl Frame {
    /// `prefix`: ASCII letters, digits and `-`, different for each start; what else it holds is left out.
    pub fn new(prefix: &str) -> Self {
        let prefix: String = prefix.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        Self { prefix: prefix.into(), next: Arc::default(), metrics: None }
    }

    /// Counts each call there as well.
    #[must_use]
    pub fn counting(self, metrics: Metrics) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    fn id(&self) -> String {
        format!("{}-{}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// Puts the frame round a router, with the fallbacks for whatever no door has claimed. [`crate::serve()`] takes the result.
pub fn finish(router: Router, frame: Frame) -> Router {
    router
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(frame, around))
}

/// Tells the access log who called; [`crate::Caller`] writes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail(Arc<OnceLock<String>>);

impl Trail {
    pub(crate) fn account(&self, name: String) {
        // One request has one caller; a second extraction finds the same.
        let _already_told = self.0.set(name);
    }
}

async fn around(State(frame): State<Frame>, mut request: Request, next: Next) -> Response {
    let id = frame.id();
    let trail = Trail::default();
    let mut line = Line {
        id: id.clone(),
        method: request.method().clone(),
        path: request.extensions().get::<MatchedPath>().cloned(),
        source: request.extensions().get::<Source>().cloned(),
        trail: trail.clone(),
        begun: Instant::now(),
        answered: None,
        metrics: frame.metrics.clone(),
    };
    request.extensions_mut().insert(trail);
    let mut response = if request.headers().len() > HEADER_COUNT {
        Problem::new(Slug::HeadersTooLarge, format!("a request has at most {HEADER_COUNT} headers")).into_response()
    } else {
        next.run(request).instrument(info_span!("request", id)).await
    };
    if let Some(Cause(cause)) = response.extensions_mut().remove() {
        tracing::error!(id, cause, "a request failed inside");
    }
    line.answered = Some(response.status());
    let headers = response.headers_mut();
    // What says nothing about it is kept by nobody.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(X_REQUEST_ID, id);
    }
    response
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that the layer wants")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a text");
    Problem::internal(format!("a handler panicked: {text}")).into_response()
}

/// One line of the access log, written when the request is over, also when its caller went away. The path is the route's template and headers are left
/// out: ids are in the ledger, and nothing that a caller sends belongs into a log.
struct Line {
    id: String,
    method: Method,
    path: Option<MatchedPath>,
    source: Option<Source>,
    trail: Trail,
    begun: Instant,
    answered: Option<StatusCode>,
    metrics: Option<Metrics>,
}

impl Drop for Line {
    fn drop(&mut self) {
        let path = self.path.as_ref().map(MatchedPath::as_str);
        if let Some(metrics) = &self.metrics {
            let status = self.answered.map(|status| status.as_u16());
            metrics.http(self.method.as_str(), path, status, self.begun.elapsed());
        }
        tracing::info!(
            target: "countersign::access",
            id = self.id,
            method = self.method.as_str(),
            path = path.unwrap_or("-"),
            status = self.answered.map_or(0, |status| status.as_u16()),
            micros = micros(self.begun.elapsed()),
            source = self.source.as_ref().map_or("-", Source::as_str),
            account = self.trail.0.get().map_or("-", String::as_str),
            "{}",
            if self.answered.is_some() { "answered" } else { "the caller went away" },
        );
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
