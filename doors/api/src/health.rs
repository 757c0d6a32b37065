//! `GET /healthz`.

use axum::extract::State;
use countersign_engine::{Engine, Health};
use countersign_kit::Routes;
use http::StatusCode;

pub(crate) fn routes(routes: Routes<Engine>) -> Routes<Engine> {
    routes.get("/healthz", healthz)
}

/// Answers as soon as the server takes calls. One that can do nothing for the moment answers 503 and why; it comes back by itself.
#[utoipa::path(get, path = "/healthz", tag = "service", responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = 503, body = String, content_type = "text/plain", description = "database-away, clock-apart, restored"),
))]
pub(crate) async fn healthz(State(engine): State<Engine>) -> (StatusCode, &'static str) {
    match engine.health() {
        Health::Good => (StatusCode::OK, "ok\n"),
        Health::DatabaseAway => (StatusCode::SERVICE_UNAVAILABLE, "database-away\n"),
        Health::ClockApart { .. } => (StatusCode::SERVICE_UNAVAILABLE, "clock-apart\n"),
        Health::Restored => (StatusCode::SERVICE_UNAVAILABLE, "restored\n"),
    }
}
