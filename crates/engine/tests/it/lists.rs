//! Lists in parts: whole, without repetition, whatever is added between two parts.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign_core::principal::Principal;
use countersign_engine::identity::Change;
use countersign_engine::testing::{PASSWORD, command};
use countersign_engine::{EngineError, Page};

use crate::support::{Place, on_both};

on_both!(
    people_and_memberships_that_come_in_between_move_nobody,
    tokens_are_the_owner_s_and_all_are_the_administrator_s,
    requests_that_are_asked_at_the_same_time_neither_repeat_nor_hide_others,
    a_cursor_that_is_no_key_of_the_list_is_refused,
);

/// Walks a list two by two; `between` runs after each part.
async fn walk<T>(
    mut part: impl AsyncFnMut(Option<&str>) -> Result<Page<T>, EngineError>,
    mut between: impl AsyncFnMut(),
) -> Vec<T> {
    let mut all = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = part(cursor.as_deref()).await.unwrap();
        assert!(page.items.len() <= 2);
        all.extend(page.items);
        let Some(next) = page.next else { return all };
        assert_ne!(cursor.as_ref(), Some(&next), "it goes on");
        cursor = Some(next);
        between().await;
    }
}

async fn add(place: &Place, admin: &Principal, name: &str) {
    let groups = vec!["local:security".parse().unwrap()];
    place.change(admin, Change::PersonAdd { name: name.into(), groups }, Some(PASSWORD)).await.unwrap();
}

async fn people_and_memberships_that_come_in_between_move_nobody() {
    let place = Place::usual().await;
    let admin = place.login("admin").await;
    let engine = place.engine();
    let mut newcomers = ["aaron", "zoe", "abel", "yann"].into_iter();
    let names = walk(
        async |cursor| engine.people(&admin, cursor, 2).await,
        async || {
            if let Some(name) = newcomers.next() {
                add(&place, &admin, name).await;
            }
        },
    )
    .await;
    let names: Vec<_> = names.into_iter().map(|person| person.name).collect();
    // Who is behind the place where the reader stands is not seen any more; who is before it is.
    assert_eq!(names, ["admin", "alice", "bob", "carol", "dave", "zoe"]);

    let alone = async || {};
    let everybody = walk(async |cursor| engine.people(&admin, cursor, 2).await, alone).await;
    let carol = everybody.iter().find(|person| person.name == "carol").unwrap();
    assert_eq!(carol.groups.iter().map(ToString::to_string).collect::<Vec<_>>(), ["local:dba", "local:security"]);
    assert_eq!((carol.factors.len(), carol.accounts[0].to_string().as_str()), (1, "local:carol"));

    let groups = walk(async |cursor| engine.groups(&admin, cursor, 2).await, alone).await;
    let groups: Vec<_> = groups.iter().map(ToString::to_string).collect();
    assert_eq!(groups, ["local:administrators", "local:dba", "local:security"]);

    let memberships = walk(
        async |cursor| engine.memberships(&admin, cursor, 2).await,
        async || {
            if let Some(name) = newcomers.next() {
                add(&place, &admin, name).await;
            }
        },
    )
    .await;
    let pairs: Vec<_> = memberships.iter().map(|one| (one.group.to_string(), one.person.clone())).collect();
    assert_eq!(pairs.iter().collect::<BTreeSet<_>>().len(), pairs.len(), "{pairs:?}");
    let of = |group: &str| {
        pairs.iter().filter(|(of, _)| of == group).map(|(_, person)| person.as_str()).collect::<BTreeSet<_>>()
    };
    assert_eq!(of("local:dba"), BTreeSet::from(["carol", "dave"]));
    assert!(of("local:security").is_superset(&BTreeSet::from(["aaron", "abel", "bob", "carol", "zoe"])));
    assert!(memberships.iter().filter(|one| one.person == "zoe").all(|one| !one.countersigned));
}

async fn tokens_are_the_owner_s_and_all_are_the_administrator_s() {
    let place = Place::usual().await;
    let engine = place.engine();
    let mut made = Vec::new();
    for (n, name) in ["alice", "bob", "alice", "alice", "bob"].into_iter().enumerate() {
        place.next_code();
        let login = engine.login(name, PASSWORD.into(), Some(place.world.code(name)), "127.0.0.1").await.unwrap();
        let owner = engine.authenticate(&login.token, "127.0.0.1").await.unwrap();
        let (label, scopes) = (format!("t{n}"), vec!["command.*".to_owned()]);
        made.push((name, engine.create_token(&owner, &label, scopes, Duration::from_hours(1)).await.unwrap().id));
    }
    let of = async |name: &str| {
        let who = place.login(name).await;
        let tokens = walk(async |cursor| engine.tokens(&who, cursor, 2).await, async || {}).await;
        tokens.into_iter().map(|token| token.id).collect::<Vec<_>>()
    };
    let expected = |name: &str| made.iter().filter(|(owner, _)| *owner == name).map(|(_, id)| *id).collect::<Vec<_>>();
    assert_eq!(of("alice").await, expected("alice"));
    assert_eq!(of("bob").await, expected("bob"));
    assert_eq!(of("admin").await, made.iter().map(|(_, id)| *id).collect::<Vec<_>>());
    assert!(of("carol").await.is_empty());
}

async fn requests_that_are_asked_at_the_same_time_neither_repeat_nor_hide_others() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let ask = async |n: usize| {
        place.world.clock.advance(Duration::from_millis(1));
        let asked = place.engine().ask(&alice, &command(&["echo", &n.to_string()], Some("to see"))).await.unwrap();
        asked.into_view().request.id
    };
    let mut before = BTreeSet::new();
    for n in 0..9 {
        before.insert(ask(n).await);
    }
    let storm = async {
        for n in 9..40 {
            ask(n).await;
        }
    };
    let walks = async {
        for _ in 0..5 {
            let mine = walk(async |cursor| place.engine().mine(&alice, cursor, 2).await, async || {}).await;
            let inbox = walk(async |cursor| place.engine().inbox(&bob, cursor, 2).await, async || {}).await;
            for list in [mine, inbox] {
                let ids: Vec<_> = list.iter().map(|view| view.request.id).collect();
                let unique: BTreeSet<_> = ids.iter().copied().collect();
                assert_eq!(unique.len(), ids.len());
                assert!(unique.is_superset(&before));
            }
        }
    };
    tokio::join!(storm, walks);
}

async fn a_cursor_that_is_no_key_of_the_list_is_refused() {
    let place = Place::usual().await;
    let (engine, admin) = (place.engine(), place.login("admin").await);
    let bad = "no key";
    let refused = [
        engine.mine(&admin, Some(bad), 2).await.map(|_| ()),
        engine.inbox(&admin, Some(bad), 2).await.map(|_| ()),
        engine.groups(&admin, Some(bad), 2).await.map(|_| ()),
        engine.memberships(&admin, Some(bad), 2).await.map(|_| ()),
        engine.tokens(&admin, Some(bad), 2).await.map(|_| ()),
    ];
    assert!(refused.iter().all(|result| matches!(result, Err(EngineError::Invalid(_)))), "{refused:?}");
}
