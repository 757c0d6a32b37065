use std::collections::BTreeMap;

use super::*;

/// What is served, by series.
async fn scrape(api: &Api, token: &str) -> BTreeMap<String, f64> {
    let mut request = Request::get("/metrics").header("authorization", format!("Bearer {token}"));
    request = request.header("accept", "text/plain");
    let answer = api.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.json());
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8(answer.body).unwrap();
    let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    samples
        .map(|line| line.rsplit_once(' ').map(|(series, value)| (series.to_owned(), value.parse().unwrap())).unwrap())
        .collect()
}

/// Which counters of the flow moved, and by how much.
fn moved(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let flow = ["requests_total{door", "answers_total", "releases_total", "logins_total", "ledger_entries_total"];
    let of_the_flow = |series: &str| flow.iter().any(|name| series.starts_with(&format!("countersign_{name}")));
    after
        .iter()
        .filter(|(series, _)| of_the_flow(series))
        .map(|(series, value)| (series.clone(), value - before.get(series).copied().unwrap_or(0.0)))
        .filter(|(_, by)| *by != 0.0)
        .collect()
}

fn one_each<const N: usize>(series: [&str; N]) -> BTreeMap<String, f64> {
    series.map(|series| (format!("countersign_{series}"), 1.0)).into()
}

#[tokio::test]
async fn one_act_moves_its_counters_by_one() {
    let api = Api::start().await;
    let (alice, bob, admin) = (api.login("alice").await, api.login("bob").await, api.login("admin").await);
    let mut before = scrape(&api, &admin).await;
    let mut step = async |expected: BTreeMap<String, f64>| {
        let after = scrape(&api, &admin).await;
        assert_eq!(moved(&before, &after), expected);
        before = after;
    };
    step(BTreeMap::new()).await;

    let asked = api.post(&alice, "/requests", &command()).await.json();
    let id = asked["id"].as_str().unwrap().to_owned();
    step(one_each(["requests_total{door=\"api\",event=\"asked\"}", "ledger_entries_total{type=\"request.asked\"}"]))
        .await;

    let answer = format!("/requests/{id}/answer");
    let mut wrong = api.proof(&bob, "bob", &id).await;
    wrong["code"] = "000000".into();
    api.post(&bob, &answer, &wrong).await;
    step(one_each([
        "answers_total{factor=\"totp\",result=\"wrong\"}",
        "ledger_entries_total{type=\"request.rejected\"}",
    ]))
    .await;

    let proof = api.proof(&bob, "bob", &id).await;
    assert_eq!(api.post(&bob, &answer, &proof).await.status, StatusCode::OK);
    step(one_each([
        "answers_total{factor=\"totp\",result=\"counted\"}",
        "requests_total{door=\"api\",event=\"granted\"}",
        "ledger_entries_total{type=\"request.answered\"}",
        "ledger_entries_total{type=\"request.granted\"}",
    ]))
    .await;

    let released = api.post(&alice, &format!("/requests/{id}/release"), &json!({})).await.json();
    step(one_each(["releases_total{door=\"api\",event=\"begun\"}", "ledger_entries_total{type=\"release.intended\"}"]))
        .await;

    let result = format!("/releases/{}/result", released["release"].as_str().unwrap());
    api.post(&alice, &result, &json!({"outcome": "exit 0"})).await;
    step(one_each(["releases_total{door=\"api\",event=\"done\"}", "ledger_entries_total{type=\"release.done\"}"]))
        .await;

    let forbidden = json!({"action": "launch.missiles", "target": "moon"});
    assert_eq!(api.post(&alice, "/requests", &forbidden).await.refused().0, 403);
    step(one_each([
        "requests_total{door=\"api\",event=\"refused\"}",
        "ledger_entries_total{type=\"request.refused\"}",
    ]))
    .await;

    let failed = json!({"name": "alice", "password": "wrong"});
    assert_eq!(api.post("none", "/login", &failed).await.refused().0, 401);
    // Its entry is told once a minute.
    step(one_each(["logins_total{result=\"failed\"}"])).await;
    api.login("dave").await;
    step(one_each(["logins_total{result=\"ok\"}", "ledger_entries_total{type=\"login.succeeded\"}"])).await;
}

#[tokio::test]
async fn nothing_that_anybody_chose_is_in_it() {
    let api = Api::start().await;
    let (alice, admin) = (api.login("alice").await, api.login("admin").await);
    api.post(&alice, "/requests", &command()).await;
    api.post("none", "/login", &json!({"name": "s3cret-name", "password": "wrong"})).await;
    api.get(&alice, "/s3cret-path").await;
    let all = scrape(&api, &admin).await;
    for chosen in ["alice", "bob", "web-1", "command", "systemctl", "OPS-1", "127.0.0.1", "s3cret", "local:"] {
        assert!(all.keys().all(|series| !series.contains(chosen)), "{chosen}");
    }
}

#[tokio::test]
async fn metrics_are_for_administrators_and_services_with_the_scope() {
    let api = Api::start().await;
    let (alice, admin) = (api.login("alice").await, api.login("admin").await);
    let get = async |token: Option<&str>| {
        let mut request = Request::get("/metrics");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        api.send(request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(get(None).await.refused(), (401, "unauthenticated".into()));
    assert_eq!(get(Some("cs_nobody")).await.refused(), (401, "unauthenticated".into()));
    assert_eq!(get(Some(&alice)).await.refused(), (403, "not-permitted".into()));
    assert_eq!(get(Some(&admin)).await.status, StatusCode::OK);

    // Anybody can make himself a token with any scope; that must open nothing that he cannot open himself.
    let token = async |name: &str, scope: &str| {
        api.world.clock.advance(std::time::Duration::from_secs(30));
        let session = api.login(name).await;
        let fresh = api.post(&session, "/session/fresh", &json!({"code": api.code(name)})).await;
        assert_eq!(fresh.status, StatusCode::NO_CONTENT, "{:?}", fresh.json());
        let made = api.post(&session, "/tokens", &json!({"name": "t", "scopes": [scope], "ttl_secs": 3600})).await;
        made.json()["token"].as_str().unwrap().to_owned()
    };
    assert_eq!(get(Some(&token("alice", "metrics.read").await)).await.refused().0, 403);
    assert_eq!(get(Some(&token("alice", "*").await)).await.refused().0, 403);
    assert_eq!(get(Some(&token("admin", "command.*").await)).await.refused().0, 403);
    assert_eq!(get(Some(&token("admin", "metrics.read").await)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_service_reads_them_with_a_token_that_an_administrator_gave_it() {
    let api = Api::start().await;
    let admin = api.login("admin").await;
    let bearer = format!("cs_token_{}", "A".repeat(43));
    let token = |scopes: &[&str]| {
        let sha256 = countersign_core::digest::Digest::sha256(bearer.as_bytes()).to_string();
        json!({"kind": "service_token_add", "service": "prometheus", "name": "scrape", "scopes": scopes, "ttl_secs": 3600, "sha256": sha256})
    };
    for change in [json!({"kind": "service_add", "name": "prometheus"}), token(&["metrics.read"])] {
        api.world.clock.advance(std::time::Duration::from_secs(30));
        let asked = api.post(&admin, "/admin", &json!({"change": change})).await.json();
        let id = asked["id"].as_str().unwrap();
        let proof = api.proof(&admin, "admin", id).await;
        let granted = api.post(&admin, &format!("/requests/{id}/answer"), &proof).await;
        assert_eq!(granted.json()["stage"], "granted", "{:?}", granted.json());
    }
    assert!(scrape(&api, &bearer).await.contains_key("countersign_held_calls"));
    // And that is all that it opens.
    assert_eq!(api.get(&bearer, "/people").await.refused().0, 403);
    assert_eq!(api.post(&bearer, "/requests", &command()).await.refused().0, 403);
}
