use std::collections::BTreeSet;

use super::*;

const LISTS: [&str; 6] = ["/requests", "/inbox", "/tokens", "/people", "/groups", "/memberships"];

#[tokio::test]
async fn every_list_has_one_shape_and_the_same_bounds() {
    let api = Api::start().await;
    let admin = api.login("admin").await;
    for list in LISTS {
        let part = api.get(&admin, list).await;
        assert_eq!(part.status, StatusCode::OK, "{list}");
        let part = part.json();
        let members: BTreeSet<_> = part.as_object().unwrap().keys().cloned().collect();
        assert_eq!(members, BTreeSet::from(["items".to_owned(), "next_cursor".to_owned()]), "{list}");
        assert!(part["items"].is_array() && part["next_cursor"].is_null(), "{list}");
        assert_eq!(api.get(&admin, &format!("{list}?limit=200")).await.status, StatusCode::OK, "{list}");
        for (query, field) in [("limit=0", "limit"), ("limit=201", "limit"), ("cursor=x", "cursor")] {
            let refused = api.get(&admin, &format!("{list}?{query}")).await;
            assert_eq!(refused.refused(), (400, "malformed".into()), "{list}?{query}");
            assert_eq!(refused.json()["field"], field, "{list}?{query}");
        }
        assert_eq!(api.get(&admin, &format!("{list}?offset=1")).await.refused().0, 400, "{list}");
    }
}

#[tokio::test]
async fn what_is_not_listed_here_answers_no_array() {
    // A list that somebody adds without paging would be found here: every route whose answer is an array of its own.
    let document = serde_json::to_value(crate::openapi()).unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        let schema = &item["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        assert_ne!(schema["type"], "array", "{path}");
        let listed = schema["$ref"].as_str().is_some_and(|name| name.contains("Listed"));
        let known = LISTS.iter().any(|list| path.strip_prefix(crate::PREFIX) == Some(list));
        assert_eq!(listed, known, "{path}: {schema}");
    }
}

#[tokio::test]
async fn a_cursor_of_one_list_is_none_of_another() {
    let api = Api::start().await;
    let admin = api.login("admin").await;
    let first = api.get(&admin, "/people?limit=2").await.json();
    let cursor = first["next_cursor"].as_str().unwrap().to_owned();
    let second = api.get(&admin, &format!("/people?limit=2&cursor={cursor}")).await.json();
    let names =
        |page: &Value| page["items"].as_array().unwrap().iter().map(|item| item["name"].clone()).collect::<Vec<_>>();
    assert_eq!(
        (names(&first), names(&second)),
        (vec![json!("admin"), json!("alice")], vec![json!("bob"), json!("carol")])
    );
    for list in LISTS.iter().filter(|list| **list != "/people") {
        let refused = api.get(&admin, &format!("{list}?cursor={cursor}")).await;
        assert_eq!(refused.refused(), (400, "malformed".into()), "{list}");
    }
}

#[tokio::test]
async fn lists_of_people_are_for_administrators() {
    let api = Api::start().await;
    let alice = api.login("alice").await;
    for list in ["/people", "/groups", "/memberships"] {
        assert_eq!(api.get(&alice, list).await.refused(), (403, "not-permitted".into()), "{list}");
    }
}
