use super::*;

/// Every route below the prefix, with something in its place for an id.
fn own_routes() -> Vec<(http::Method, String)> {
    let id = "0197a3c4-5b6d-7e8f-8a9b-0c1d2e3f4a5b";
    crate::api().list().iter().map(|(method, path)| (method.clone(), path.replace("{id}", id))).collect()
}

fn request(method: &http::Method, path: &str, token: Option<&str>, body: &[u8]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(format!("{}{path}", crate::PREFIX));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.header("content-type", "application/json").body(Body::from(body.to_vec())).unwrap()
}

#[tokio::test]
async fn nothing_but_the_login_works_without_a_credential() {
    let api = Api::start().await;
    for (method, path) in own_routes().into_iter().filter(|(_, path)| path != "/login") {
        for token in [None, Some("cs_nobody"), Some("x")] {
            // The body is broken on purpose: who may not call does not learn what the call takes.
            let answer = api.send(request(&method, &path, token, b"{")).await;
            assert_eq!(answer.refused(), (401, "unauthenticated".into()), "{method} {path} {token:?}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
    }
}

#[tokio::test]
async fn a_broken_body_is_never_a_500() {
    let api = Api::start().await;
    let alice = api.login("alice").await;
    let deep = "[".repeat(100_000);
    let bodies: [&[u8]; 9] = [
        b"{",
        b"{\"name\":1,\"name\":2}",
        b"{\"name\":\"\xff\"}",
        b"\"\\ud800\"",
        b"[]",
        b"null",
        b"1e400",
        b"{\"$int\":\"1\"}",
        deep.as_bytes(),
    ];
    for (method, path) in
        own_routes().into_iter().filter(|(method, path)| *method == http::Method::POST && path != "/logout")
    {
        for body in bodies {
            let answer = api.send(request(&method, &path, Some(&alice), body)).await;
            assert_eq!(
                answer.refused(),
                (400, "malformed".into()),
                "{path}: {:?}",
                String::from_utf8_lossy(body).get(..20)
            );
        }
        let large = vec![b' '; 300_000];
        assert_eq!(api.send(request(&method, &path, Some(&alice), &large)).await.refused().0, 413, "{path}");
    }
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_yours_look_alike() {
    let api = Api::start().await;
    let (alice, dave) = (api.login("alice").await, api.login("dave").await);
    let id = api.post(&alice, "/requests", &command()).await.json()["id"].as_str().unwrap().to_owned();
    let absent = "0197a3c4-5b6d-7e8f-8a9b-0c1d2e3f4a5b";
    for verb in ["", "/wait?version=0&timeout_secs=0", "/receipt"] {
        let [foreign, absent] = [id.as_str(), absent].map(|id| format!("/requests/{id}{verb}"));
        let (foreign, absent) = (api.get(&dave, &foreign).await, api.get(&dave, &absent).await);
        assert_eq!(foreign.refused(), (404, "not-found".into()), "{verb}");
        assert_eq!(foreign.body, absent.body, "{verb}");
    }
    for verb in ["deny", "cancel", "revoke", "release"] {
        let [foreign, absent] = [id.as_str(), absent].map(|id| format!("/requests/{id}/{verb}"));
        let (foreign, absent) =
            (api.post(&dave, &foreign, &json!({})).await, api.post(&dave, &absent, &json!({})).await);
        assert_eq!((foreign.refused(), foreign.body), (absent.refused(), absent.body), "{verb}");
    }
}

#[tokio::test]
async fn an_id_is_spelled_in_one_way() {
    let api = Api::start().await;
    let alice = api.login("alice").await;
    let id = api.post(&alice, "/requests", &command()).await.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(api.get(&alice, &format!("/requests/{id}")).await.status, StatusCode::OK);
    let escaped = format!("%{:02x}{}", id.as_bytes()[0], &id[1..]);
    for bad in
        [escaped, id.to_uppercase(), id.replace('-', ""), format!("{id}/"), format!("{id}%00"), format!("{{{id}}}")]
    {
        let path = format!("/requests/{}", bad.replace('{', "%7b").replace('}', "%7d"));
        assert_eq!(api.get(&alice, &path).await.refused(), (404, "not-found".into()), "{path}");
    }
}

#[tokio::test]
async fn methods_and_paths_that_are_not_there() {
    let api = Api::start().await;
    let alice = api.login("alice").await;
    let answer = api.delete(&alice, "/requests").await;
    assert_eq!(answer.refused(), (405, "method-not-allowed".into()));
    let allow = answer.headers["allow"].to_str().unwrap();
    assert!(allow.contains("POST") && allow.contains("GET"), "{allow}");
    for path in ["/nothing", "/whoami/", "", "/"] {
        assert_eq!(api.get(&alice, path).await.refused(), (404, "not-found".into()), "{path}");
    }
    assert_eq!(api.get(&alice, "/requests?limit=1&limit=2").await.refused(), (400, "malformed".into()));
    assert_eq!(api.get(&alice, "/inbox?offset=2").await.refused(), (400, "malformed".into()));
}

#[tokio::test]
async fn a_failed_login_tells_nothing() {
    let api = Api::start().await;
    let login = |name: &str, password: &str| json!({"name": name, "password": password});
    let wrong = api.post("none", "/login", &login("alice", "wrong s3cret")).await;
    let unknown = api.post("none", "/login", &login("nobody", "wrong s3cret")).await;
    let odd = api.post("none", "/login", &login("no such\u{0} name\u{202e}", "wrong s3cret")).await;
    assert_eq!(wrong.refused(), (401, "login-refused".into()));
    assert_eq!(wrong.body, unknown.body);
    assert_eq!(wrong.body, odd.body);
    for _ in 0..8 {
        api.post("none", "/login", &login("alice", "wrong s3cret")).await;
    }
    let held = api.post("none", "/login", &login("alice", "wrong s3cret")).await;
    assert_eq!(held.refused(), (429, "too-many-attempts".into()));
    assert!(held.headers.contains_key("retry-after") && held.json()["retry_at"].is_string(), "{:?}", held.json());
}

#[tokio::test]
async fn only_administrators_list_people() {
    let api = Api::start().await;
    let alice = api.login("alice").await;
    for path in ["/people", "/groups"] {
        assert_eq!(api.get(&alice, path).await.refused(), (403, "not-permitted".into()));
    }
}

#[tokio::test]
async fn after_a_logout_the_token_is_nothing() {
    let api = Api::start().await;
    let alice = api.login("alice").await;
    assert_eq!(api.post(&alice, "/logout", &json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(api.get(&alice, "/whoami").await.refused(), (401, "unauthenticated".into()));
}
