//! The whole door against a real engine on a temporary database.

mod events;
mod lists;
mod refusals;
mod scrape;
mod story;

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, to_bytes};
use countersign_engine::testing::{PASSWORD, World};
use countersign_kit::{Frame, Source, finish};
use http::{HeaderMap, Request, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tower::ServiceExt as _;

struct Api {
    world: World,
    router: Router,
    _dir: tempfile::TempDir,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The status and, of a problem, its slug.
    fn refused(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["slug"].as_str().unwrap_or_default().to_owned())
    }
}

impl Api {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::usual(dir.path()).await.unwrap();
        let router = finish(crate::router(world.engine.clone()), Frame::new("t"));
        Self { world, router, _dir: dir }
    }

    async fn send(&self, mut request: Request<Body>) -> Answer {
        request.extensions_mut().insert(Source::from(SocketAddr::from(([127, 0, 0, 1], 40_000))));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 10_000_000).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, token: &str, path: &str) -> Answer {
        let request =
            Request::get(format!("{}{path}", crate::PREFIX)).header("authorization", format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn post(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.post_with(token, path, body, None).await
    }

    async fn post_with(&self, token: &str, path: &str, body: &Value, key: Option<&str>) -> Answer {
        let mut request = Request::post(format!("{}{path}", crate::PREFIX))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    async fn delete(&self, token: &str, path: &str) -> Answer {
        let request =
            Request::delete(format!("{}{path}", crate::PREFIX)).header("authorization", format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn public(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn login(&self, name: &str) -> String {
        let answer = self.post("none", "/login", &json!({"name": name, "password": PASSWORD})).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.json());
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    fn code(&self, name: &str) -> String {
        self.world.code(name).expose_secret().to_owned()
    }

    /// What somebody sends who saw the request just now.
    async fn proof(&self, token: &str, name: &str, id: &str) -> Value {
        let seen = self.get(token, &format!("/requests/{id}")).await.json();
        json!({"challenge": seen["you"]["challenge"], "code": self.code(name), "digest": seen["digest"]})
    }
}

fn command() -> Value {
    json!({
        "action": "command.run",
        "target": "web-1",
        "parameters": {"argv": ["systemctl", "restart", {"$bytes": "/w=="}], "cwd": "/srv", "user": "alice"},
        "context": {"client": "countersign 0.1.0"},
        "reason": "OPS-1 stuck worker",
    })
}
