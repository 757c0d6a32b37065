//! `GET /healthz`.

use countersign_engine::Engine;
use countersign_kit::Routes;

pub(crate) fn routes(routes: Routes<Engine>) -> Routes<Engine> {
    routes.get("/healthz", healthz)
}

/// Answers as soon as the server takes calls.
#[utoipa::path(get, path = "/healthz", tag = "service", responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}
