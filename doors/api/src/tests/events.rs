use axum::body::BodyDataStream;
use futures_util::StreamExt as _;

use super::*;

/// An open stream of events.
struct Events {
    head: http::response::Parts,
    body: BodyDataStream,
    text: String,
}

impl Api {
    async fn follow(&self, token: &str, id: &str, last: Option<&str>) -> Events {
        let mut request = Request::get(format!("{}/requests/{id}/events", crate::PREFIX))
            .header("authorization", format!("Bearer {token}"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(Source::from(SocketAddr::from(([127, 0, 0, 1], 40_000))));
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        Events { head, body: body.into_data_stream(), text: String::new() }
    }
}

impl Events {
    /// The next event that is no comment: its name, its id, its data. `None` when the stream has ended.
    async fn next(&mut self) -> Option<(String, Option<i64>, Value)> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned())
                };
                if let Some(data) = field("data:") {
                    let id = field("id:").map(|id| id.parse().unwrap());
                    return Some((field("event:").unwrap(), id, serde_json::from_str(&data).unwrap()));
                }
            }
            let chunk = self.body.next().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

async fn ask(api: &Api, token: &str) -> Value {
    api.post(token, "/requests", &command()).await.json()
}

#[tokio::test]
async fn each_version_is_told_and_then_the_end() {
    let api = Api::start().await;
    let (alice, bob) = (api.login("alice").await, api.login("bob").await);
    let asked = ask(&api, &alice).await;
    let id = asked["id"].as_str().unwrap();
    let mut events = api.follow(&alice, id, None).await;
    assert_eq!(events.head.status, StatusCode::OK);
    for (name, value) in
        [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")]
    {
        assert_eq!(events.head.headers[name], value);
    }
    assert_eq!(events.next().await.unwrap(), ("request".into(), asked["version"].as_i64(), asked.clone()));

    let proof = api.proof(&bob, "bob", id).await;
    assert_eq!(api.post(&bob, &format!("/requests/{id}/answer"), &proof).await.status, StatusCode::OK);
    let (name, version, view) = events.next().await.unwrap();
    assert_eq!((name.as_str(), &view["stage"], version), ("request", &json!("granted"), view["version"].as_i64()));
    assert_eq!(
        view,
        api.get(&alice, &format!("/requests/{id}")).await.json(),
        "as the caller sees it, not as others do"
    );

    let released = api.post(&alice, &format!("/requests/{id}/release"), &json!({})).await.json();
    assert_eq!(events.next().await.unwrap().2["releases"][0]["state"], "intended");
    let result = format!("/releases/{}/result", released["release"].as_str().unwrap());
    api.post(&alice, &result, &json!({"outcome": "exit 0"})).await;
    assert_eq!(events.next().await.unwrap().2["releases"][0]["state"], "done");
    assert_eq!(events.next().await.unwrap(), ("end".into(), None, json!({"why": "over"})));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn who_connects_again_says_what_he_saw() {
    let api = Api::start().await;
    let alice = api.login("alice").await;
    let asked = ask(&api, &alice).await;
    let (id, version) = (asked["id"].as_str().unwrap(), asked["version"].to_string());
    let mut events = api.follow(&alice, id, Some(&version)).await;
    let cancel = format!("/requests/{id}/cancel");
    let nothing = json!({});
    let (next, _) = tokio::join!(events.next(), api.post(&alice, &cancel, &nothing));
    assert_eq!(next.unwrap().2["stage"], "cancelled");
    assert_eq!(events.next().await.unwrap().0, "end");
    let mut again = api.follow(&alice, id, Some(&version)).await;
    assert_eq!(again.next().await.unwrap().2["stage"], "cancelled");
    let bad = api.follow(&alice, id, Some("x")).await;
    assert_eq!(bad.head.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_stream_is_for_those_who_may_see_the_request_and_ends_with_their_session() {
    let api = Api::start().await;
    let (alice, bob, dave) = (api.login("alice").await, api.login("bob").await, api.login("dave").await);
    let asked = ask(&api, &alice).await;
    let id = asked["id"].as_str().unwrap();
    let absent = "0197a3c4-5b6d-7e8f-8a9b-0c1d2e3f4a5b";
    assert_eq!(api.follow(&dave, id, None).await.head.status, StatusCode::NOT_FOUND);
    assert_eq!(api.follow(&alice, absent, None).await.head.status, StatusCode::NOT_FOUND);
    assert_eq!(api.follow("cs_nobody", id, None).await.head.status, StatusCode::UNAUTHORIZED);

    let mut events = api.follow(&bob, id, None).await;
    assert_eq!(events.next().await.unwrap().0, "request");
    assert_eq!(api.post(&bob, "/logout", &json!({})).await.status, StatusCode::NO_CONTENT);
    // Whatever happens from now on is none of his business.
    api.post(&alice, &format!("/requests/{id}/cancel"), &json!({})).await;
    assert_eq!(events.next().await.unwrap(), ("end".into(), None, json!({"why": "unauthenticated"})));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_held_call_tells_nothing_to_a_session_that_ended_meanwhile() {
    let api = Api::start().await;
    let (alice, bob) = (api.login("alice").await, api.login("bob").await);
    let asked = ask(&api, &alice).await;
    let (id, version) = (asked["id"].as_str().unwrap(), &asked["version"]);
    let wait = format!("/requests/{id}/wait?version={version}&timeout_secs=50");
    let (cancel, nothing) = (format!("/requests/{id}/cancel"), json!({}));
    let (waited, ()) = tokio::join!(api.get(&bob, &wait), async {
        api.post(&bob, "/logout", &nothing).await;
        assert_eq!(api.post(&alice, &cancel, &nothing).await.status, StatusCode::OK);
    });
    assert_eq!(waited.refused(), (401, "unauthenticated".into()));
}

#[tokio::test]
async fn streams_are_held_calls() {
    let api = Api::start().await;
    let alice = api.login("alice").await;
    let asked = ask(&api, &alice).await;
    let id = asked["id"].as_str().unwrap();
    let mut held = Vec::new();
    let refused = loop {
        let events = api.follow(&alice, id, None).await;
        if events.head.status != StatusCode::OK {
            break events;
        }
        held.push(events);
    };
    assert_eq!((held.len(), refused.head.status), (64, StatusCode::TOO_MANY_REQUESTS));
    let wait = format!("/requests/{id}/wait?version=0&timeout_secs=0");
    assert_eq!(api.get(&alice, &wait).await.refused(), (429, "too-many-waiting".into()));
    held.pop();
    assert_eq!(api.get(&alice, &wait).await.status, StatusCode::OK);
}
