use std::time::Duration;

use super::*;

#[tokio::test]
async fn a_command_that_a_second_person_countersigns() {
    let api = Api::start().await;
    let (alice, bob) = (api.login("alice").await, api.login("bob").await);

    let asked = api.post(&alice, "/requests", &command()).await;
    assert_eq!(asked.status, StatusCode::CREATED);
    insta::assert_json_snapshot!("asked", asked.json(), {
        ".id" => "[id]", ".digest" => "[digest]", ".policy" => "[policy]",
    });
    let id = asked.json()["id"].as_str().unwrap().to_owned();

    let inbox = api.get(&bob, "/inbox").await.json();
    assert_eq!(inbox["items"][0]["id"], id);
    assert_eq!(inbox["items"][0]["you"]["may"], json!(["approve", "deny"]));
    assert_eq!(api.get(&alice, "/inbox").await.json()["items"], json!([]));

    let early = api.post(&alice, &format!("/requests/{id}/release"), &json!({})).await;
    assert_eq!(early.refused(), (409, "conflict".into()));

    let answer = format!("/requests/{id}/answer");
    let mut wrong = api.proof(&bob, "bob", &id).await;
    wrong["code"] = "000000".into();
    let rejected = api.post(&bob, &answer, &wrong).await;
    assert_eq!(rejected.refused(), (422, "answer-rejected".into()));
    assert_eq!((&rejected.json()["why"], &rejected.json()["request"]["id"]), (&json!("wrong-factor"), &json!(id)));

    let mut other = api.proof(&bob, "bob", &id).await;
    other["digest"] = "0".repeat(64).into();
    assert_eq!(api.post(&bob, &answer, &other).await.json()["why"], "other-request");

    // A rejected answer is a version of its own.
    let known = rejected.json()["request"]["version"].as_i64().unwrap();
    assert!(known > asked.json()["version"].as_i64().unwrap());
    let wait = format!("/requests/{id}/wait?version={known}&timeout_secs=20");
    let proof = api.proof(&bob, "bob", &id).await;
    let (waited, approved) = tokio::join!(api.get(&alice, &wait), api.post(&bob, &answer, &proof));
    assert_eq!(approved.status, StatusCode::OK, "{:?}", approved.json());
    insta::assert_json_snapshot!("approved", approved.json(), {
        ".id" => "[id]", ".digest" => "[digest]", ".policy" => "[policy]",
    });
    assert_eq!(waited.json()["stage"], "granted");

    let released = api.post(&alice, &format!("/requests/{id}/release"), &json!({})).await;
    assert_eq!(released.status, StatusCode::OK, "{:?}", released.json());
    insta::assert_json_snapshot!("released", released.json(), { ".release" => "[id]", ".grant" => "[jwt]" });
    let again = api.post(&alice, &format!("/requests/{id}/release"), &json!({})).await;
    assert_eq!((again.refused(), &again.json()["stage"]), ((409, "conflict".into()), &json!("spent")));

    let release = released.json()["release"].as_str().unwrap().to_owned();
    api.world.clock.advance(Duration::from_secs(5));
    let renewed = api.post(&alice, &format!("/releases/{release}/renew"), &json!({})).await.json();
    assert_eq!(renewed, json!({"lease_until": "2026-01-01T00:00:35Z"}));
    let result = format!("/releases/{release}/result");
    assert_eq!(api.post(&bob, &result, &json!({"outcome": "exit 0"})).await.refused().0, 404);
    let done = api.post(&alice, &result, &json!({"outcome": "exit 0"})).await.json();
    insta::assert_json_snapshot!("done", done["releases"], { "[].id" => "[id]" });
    assert_eq!(api.post(&alice, &result, &json!({"outcome": "exit 1"})).await.refused(), (409, "conflict".into()));
}

#[tokio::test]
async fn deny_cancel_and_revoke_each_end_it() {
    let api = Api::start().await;
    let (alice, bob) = (api.login("alice").await, api.login("bob").await);
    for (verb, who, body, stage) in
        [("deny", &bob, json!({"why": "not today"}), "denied"), ("cancel", &alice, json!({}), "cancelled")]
    {
        let id = api.post(&alice, "/requests", &command()).await.json()["id"].as_str().unwrap().to_owned();
        let ended = api.post(who, &format!("/requests/{id}/{verb}"), &body).await;
        assert_eq!((ended.status, &ended.json()["stage"]), (StatusCode::OK, &json!(stage)));
        let proof = json!({"challenge": id, "code": api.code("bob"), "digest": ended.json()["digest"]});
        let late = api.post(&bob, &format!("/requests/{id}/answer"), &proof).await;
        assert_eq!((late.refused(), &late.json()["why"]), ((422, "answer-rejected".into()), &json!("over")));
        assert_eq!(api.post(&alice, &format!("/requests/{id}/release"), &json!({})).await.refused().0, 409);
    }
    let id = api.post(&alice, "/requests", &command()).await.json()["id"].as_str().unwrap().to_owned();
    let proof = api.proof(&bob, "bob", &id).await;
    assert_eq!(api.post(&bob, &format!("/requests/{id}/answer"), &proof).await.json()["stage"], "granted");
    let revoked = api.post(&bob, &format!("/requests/{id}/revoke"), &json!({})).await.json();
    assert_eq!((&revoked["grant"]["state"], &revoked["ended"]["by"]), (&json!("revoked"), &json!("bob")));
    assert_eq!(
        api.post(&alice, &format!("/requests/{id}/release"), &json!({})).await.refused(),
        (409, "conflict".into())
    );
}

#[tokio::test]
async fn a_key_makes_a_retry_one_request() {
    let api = Api::start().await;
    let alice = api.login("alice").await;
    let first = api.post_with(&alice, "/requests", &command(), Some("k1")).await;
    let again = api.post_with(&alice, "/requests", &command(), Some("k1")).await;
    assert_eq!((first.status, again.status), (StatusCode::CREATED, StatusCode::OK));
    assert_eq!(first.json()["id"], again.json()["id"]);
    let mut other = command();
    other["target"] = "web-2".into();
    let mismatch = api.post_with(&alice, "/requests", &other, Some("k1")).await;
    assert_eq!(mismatch.refused(), (422, "idempotency-mismatch".into()));
}

#[tokio::test]
async fn lists_come_in_parts() {
    let api = Api::start().await;
    let alice = api.login("alice").await;
    for target in ["web-1", "web-2", "web-3"] {
        api.world.clock.advance(Duration::from_secs(1));
        let mut body = command();
        body["target"] = target.into();
        assert_eq!(api.post(&alice, "/requests", &body).await.status, StatusCode::CREATED);
    }
    let targets =
        |page: &Value| page["items"].as_array().unwrap().iter().map(|item| item["target"].clone()).collect::<Vec<_>>();
    let first = api.get(&alice, "/requests?limit=2").await.json();
    assert_eq!(targets(&first), ["web-3", "web-2"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = api.get(&alice, &format!("/requests?limit=2&cursor={cursor}")).await.json();
    assert_eq!((targets(&second), &second["next_cursor"]), (vec![json!("web-1")], &Value::Null));
    assert_eq!(api.get(&alice, "/requests?cursor=x").await.refused(), (400, "malformed".into()));
}

#[tokio::test]
async fn an_administrator_adds_somebody_and_no_password_shows() {
    let api = Api::start().await;
    let admin = api.login("admin").await;
    assert_eq!(
        api.post(&admin, "/session/fresh", &json!({"code": api.code("admin")})).await.status,
        StatusCode::NO_CONTENT
    );
    let change = json!({"change": {"kind": "person_add", "name": "erin", "password": "a s3cret of erin", "groups": ["local:dba"]}});
    let asked = api.post(&admin, "/admin", &change).await;
    assert_eq!(asked.status, StatusCode::CREATED, "{:?}", asked.json());
    assert!(!asked.json().to_string().contains("s3cret"));
    insta::assert_json_snapshot!("person_add", asked.json(), {
        ".id" => "[id]", ".digest" => "[digest]", ".policy" => "[policy]", ".you.challenge" => "[id]",
    });
    let id = asked.json()["id"].as_str().unwrap().to_owned();
    api.world.clock.advance(Duration::from_secs(30));
    let proof = api.proof(&admin, "admin", &id).await;
    let granted = api.post(&admin, &format!("/requests/{id}/answer"), &proof).await;
    assert_eq!(granted.json()["stage"], "granted", "{:?}", granted.json());
    let erin = api.post("none", "/login", &json!({"name": "erin", "password": "a s3cret of erin"})).await;
    assert_eq!(erin.status, StatusCode::OK);
    let people = api.get(&admin, "/people").await.json();
    assert!(people["items"].as_array().unwrap().iter().any(|person| person["name"] == "erin"), "{people}");
    let (groups, memberships) = (api.get(&admin, "/groups").await.json(), api.get(&admin, "/memberships").await.json());
    insta::assert_json_snapshot!("people_and_groups", [people, groups, memberships]);
}

#[tokio::test]
async fn a_token_is_made_listed_used_and_ended() {
    let api = Api::start().await;
    let alice = api.login("alice").await;
    let body = json!({"name": "ci", "scopes": ["report.*"], "ttl_secs": 3600});
    assert_eq!(api.post(&alice, "/tokens", &body).await.refused(), (403, "stale-session".into()));
    api.post(&alice, "/session/fresh", &json!({"code": api.code("alice")})).await;
    let made = api.post(&alice, "/tokens", &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.json());
    let token = made.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(api.get(&token, "/whoami").await.json()["via"], "token");
    assert_eq!(api.post(&token, "/requests", &command()).await.refused(), (403, "not-permitted".into()));
    let listed = api.get(&alice, "/tokens").await.json();
    assert!(!listed.to_string().contains(&token) && listed["items"][0]["revoked"] == false, "{listed}");
    let path = format!("/tokens/{}", made.json()["id"].as_str().unwrap());
    let bob = api.login("bob").await;
    assert_eq!(api.delete(&bob, &path).await.refused(), (404, "not-found".into()));
    assert_eq!(api.delete(&alice, &path).await.status, StatusCode::NO_CONTENT);
    assert_eq!(api.get(&token, "/whoami").await.refused(), (401, "unauthenticated".into()));
}

#[tokio::test]
async fn policy_explains_itself() {
    let api = Api::start().await;
    let (alice, admin) = (api.login("alice").await, api.login("admin").await);
    let mut asked = command();
    let own = api.post(&alice, "/requests/explain", &asked).await;
    assert_eq!(own.status, StatusCode::OK);
    insta::assert_json_snapshot!("explanation", own.json(), { ".policy" => "[policy]" });
    let body = asked.as_object_mut().unwrap();
    body.remove("context");
    body.insert("for".into(), "alice".into());
    let for_alice = api.post(&admin, "/policy/explain", &asked).await;
    assert_eq!(for_alice.json()["slots"], own.json()["slots"]);
    asked["for"] = "bob".into();
    assert_eq!(api.post(&alice, "/policy/explain", &asked).await.refused(), (403, "not-permitted".into()));
    let policy = api.get(&alice, "/policy").await.json();
    let check = api.post(&admin, "/policy/check", &json!({"text": policy["text"]})).await.json();
    assert_eq!((&check["ok"], &check["digest"]), (&json!(true), &policy["digest"]));
    // A report tells which groups there are and how many people they supply.
    let refused = api.post(&alice, "/policy/check", &json!({"text": policy["text"]})).await.refused();
    assert_eq!(refused, (403, "not-permitted".into()));
    let bad = api.post(&admin, "/policy/check", &json!({"text": "version = 1\n[[rule]]\nid = 7\n"})).await.json();
    assert!(bad["ok"] == false && !bad["errors"].as_array().unwrap().is_empty(), "{bad}");
}

#[tokio::test]
async fn the_log_is_public_and_a_receipt_waits_for_it() {
    let api = Api::start().await;
    let alice = api.login("alice").await;
    let id = api.post(&alice, "/requests", &command()).await.json()["id"].as_str().unwrap().to_owned();
    let receipt = format!("/requests/{id}/receipt");
    let early = api.get(&alice, &receipt).await;
    assert_eq!(early.refused(), (409, "receipt-not-ready".into()));
    assert_eq!(early.headers["retry-after"], "1");
    api.world.engine.sequence().await.unwrap();
    let ready = api.get(&alice, &receipt).await;
    assert_eq!(ready.status, StatusCode::OK, "{:?}", ready.json());
    assert_eq!(ready.headers["content-type"], "application/json");
    assert!(ready.json().is_object());

    let log = api.get(&alice, "/log").await.json();
    let (origin, size) = (log["origin"].as_str().unwrap(), log["size"].as_u64().unwrap());
    let checkpoint = String::from_utf8(api.public("/ledger/checkpoint").await.body).unwrap();
    assert!(checkpoint.starts_with(&format!("{origin}\n{size}\n")), "{checkpoint}");
    let epoch = format!("/ledger/{}/checkpoint", log["epoch"]);
    assert_eq!(api.public(&epoch).await.body, checkpoint.as_bytes());
    let tile = api.public(&format!("/ledger/tile/0/000.p/{size}")).await;
    assert_eq!((tile.status, tile.body.len() as u64), (StatusCode::OK, size * 32));
    assert_eq!(tile.headers["cache-control"], "no-store");
    let bundle = api.public(&format!("/ledger/tile/entries/000.p/{size}")).await;
    assert_eq!(bundle.status, StatusCode::OK);
    for name in ["alice", "web-1", "systemctl", "OPS-1"] {
        assert!(!String::from_utf8_lossy(&bundle.body).contains(name), "{name} is in the public log");
    }
    for absent in [
        format!("/ledger/tile/0/000.p/{}", size + 1),
        "/ledger/tile/0/000".to_owned(),
        "/ledger/99/checkpoint".to_owned(),
    ] {
        assert_eq!(api.public(&absent).await.refused(), (404, "not-found".into()), "{absent}");
    }
}

#[tokio::test]
async fn outside_the_prefix() {
    let api = Api::start().await;
    assert_eq!(api.public("/healthz").await.body, b"ok\n");
    let document = api.public("/openapi.json").await.json();
    assert!(document["paths"].get("/api/countersign/v1/login").is_some());
    for path in ["/ledger", "/ledger/", "/ledger/tile/0/%30%30%30", "/ledger/99/checkpoint", "/ledger/tile/0/x999/999"]
    {
        assert_eq!(api.public(path).await.refused(), (404, "not-found".into()), "{path}");
    }
}
