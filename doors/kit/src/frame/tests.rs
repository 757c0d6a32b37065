use std::io::Write;
use std::sync::{Mutex, PoisonError};

use axum::body::Body;
use axum::routing::{get, post};
use tower::ServiceExt as _;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn router() -> Router {
    let nested = Router::new()
        .route("/things/{id}", get(async || "a thing"))
        .route("/broken", get(async || Problem::internal("the cause")))
        .route("/posts", post(async || "posted"));
    finish(Router::new().nest("/api", nested), Frame::new("n1\r\n"))
}

async fn send(request: http::request::Builder) -> Response {
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(Source::from(std::net::SocketAddr::from(([192, 0, 2, 1], 7))));
    router().oneshot(request).await.unwrap()
}

#[tokio::test]
async fn every_answer_has_the_headers() {
    for path in ["/api/things/1", "/nowhere", "/api/broken", "/api/posts"] {
        let response = send(http::Request::get(path)).await;
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store", "{path}");
        assert_eq!(response.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'"));
        assert_eq!(response.headers()[X_REQUEST_ID], "n1-0");
    }
}

#[tokio::test]
async fn the_wrong_method_and_the_wrong_path_are_problems() {
    let response = send(http::Request::delete("/api/posts")).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()[http::header::ALLOW], "POST");
    let response = send(http::Request::post("/api/things/1")).await;
    assert_eq!(response.headers()[http::header::ALLOW], "GET,HEAD");
    for path in
        ["/", "/api", "/api/", "/api/things/1/", "/api/things/", "//api/things/1", "/api//things/1", "/api/things/1/2"]
    {
        let response = send(http::Request::get(path)).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(response.headers()[http::header::CONTENT_TYPE], "application/problem+json");
    }
    assert_eq!(send(http::Request::head("/api/things/1")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn too_many_headers_are_refused() {
    let request = (0..=HEADER_COUNT).fold(http::Request::get("/api/things/1"), |request, _| request.header("a", "b"));
    assert_eq!(send(request).await.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

#[tokio::test]
async fn the_access_log_tells_the_template_and_nothing_that_was_sent() {
    // Tests beside this one have no subscriber, and what they log first would be off for all; one that hears everything keeps it on.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().json().with_writer(log.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let secret = http::Request::get("/api/things/id-of-mine?token=s3cret").header("authorization", "Bearer s3cret");
    assert_eq!(send(secret).await.status(), StatusCode::OK);
    assert_eq!(send(http::Request::get("/s3cret")).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(send(http::Request::get("/api/broken")).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    drop(guard);
    let text = log.text();
    assert!(!text.contains("s3cret") && !text.contains("id-of-mine"), "{text}");
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = &lines[0]["fields"];
    assert_eq!((&first["path"], &first["status"]), (&"/api/things/{id}".into(), &200.into()));
    assert_eq!((&first["source"], &first["account"]), (&"192.0.2.1".into(), &"-".into()));
    assert_eq!(lines[1]["fields"]["path"], "-");
    assert_eq!(lines[2]["fields"]["cause"], "the cause");
    assert_eq!(lines[2]["fields"]["id"], lines[3]["fields"]["id"]);
}
