//! `GET /metrics`.

use axum::extract::State;
use countersign_engine::Engine;
use countersign_kit::{Caller, Problem, Routes};
use http::HeaderName;
use http::header::CONTENT_TYPE;

/// Prometheus' text format.
const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) fn routes(routes: Routes<Engine>) -> Routes<Engine> {
    routes.get("/metrics", metrics)
}

/// What the service counted since it started, for Prometheus. For administrators, and tokens of services with the scope `metrics.read`; for everybody
/// where the operator made it public.
#[utoipa::path(get, path = "/metrics", tag = "service", security(("bearer" = [])), responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = 401, description = "unauthenticated"),
    (status = 403, description = "not-permitted"),
))]
pub(crate) async fn metrics(
    State(engine): State<Engine>,
    caller: Result<Caller, Problem>,
) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    let principal = match caller {
        Ok(Caller(principal)) => Some(principal),
        Err(_) if engine.has_public_metrics() => None,
        Err(problem) => return Err(problem),
    };
    Ok(([(CONTENT_TYPE, TYPE)], engine.scrape(principal.as_ref()).await?))
}
