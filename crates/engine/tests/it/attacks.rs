//! Each test is an attack that succeeded somewhere in public once. `SECURITY.md` names them.

use std::time::Duration;

use countersign_core::canonical::Value;
use countersign_core::decide::Rejection;
use countersign_core::digest::Digest;
use countersign_core::request::Stage;
use countersign_engine::EngineError;
use countersign_engine::flow::Proof;
use countersign_engine::identity::Change;
use countersign_engine::testing::{PEOPLE, POLICY, ask, command};

use crate::support::{Place, on_both};

on_both!(
    attack_02_the_requester_is_in_the_group_of_approvers,
    attack_02b_a_group_that_only_the_requester_could_fill_is_refused_at_ask,
    attack_03_another_account_of_the_requester_and_his_token_fill_nothing,
    attack_04_an_answer_by_somebody_who_is_not_on_the_list_or_with_a_borrowed_code,
    attack_05_one_human_in_two_groups_fills_one_place,
    attack_07_an_approver_is_removed_or_disabled_between_approval_and_release,
    attack_07b_disabling_acts_at_once,
    attack_09_the_policy_changes_while_a_request_waits,
    attack_09b_an_answer_about_something_else_counts_for_nothing,
    attack_10_a_code_is_replayed,
    attack_10b_sixty_four_at_once_with_one_code_count_once,
    attack_16_an_administrator_alone_approves_through_a_friend_he_just_made,
    attack_16b_what_came_without_a_countersignature_cools,
    attack_18_two_amounts_past_two_to_the_53_are_two_operations,
);

fn why(result: Result<countersign_engine::flow::View, EngineError>) -> Rejection {
    match result {
        Err(EngineError::AnswerRejected { why, .. }) => why,
        other => panic!("not rejected: {other:?}"),
    }
}

async fn attack_02_the_requester_is_in_the_group_of_approvers() {
    let place = Place::usual().await;
    let bob = place.login("bob").await;
    let view = place.asked(&bob).await;
    assert!(!view.can_approve.iter().any(|(_, people)| people.contains(&"bob".to_owned())));
    assert_eq!(why(place.world.answer(&bob, &view).await), Rejection::OwnRequest);
    assert!(place.engine().deny(&bob, view.request.id, None).await.is_err());
    assert!(place.engine().inbox(&bob, None, 10).await.unwrap().items.is_empty());
}

async fn attack_02b_a_group_that_only_the_requester_could_fill_is_refused_at_ask() {
    let people: &[(&str, &[&str])] = &[("admin", &["administrators"]), ("bob", &["security"])];
    let place = Place::with(people, POLICY.split("[[rule]]\nid = \"tables\"").next().unwrap()).await;
    let bob = place.login("bob").await;
    let refused = place.engine().ask(&bob, &command(&["id"], Some("to see"))).await;
    assert!(
        matches!(&refused, Err(EngineError::RefusedByPolicy { why }) if why.contains("not enough people")),
        "{refused:?}"
    );
}

async fn attack_03_another_account_of_the_requester_and_his_token_fill_nothing() {
    let place = Place::usual().await;
    let (admin, alice) = (place.login("admin").await, place.login("alice").await);
    // A second login of alice, in the approvers' group through its own name, is still alice.
    place
        .change(&admin, Change::PersonAdd { name: "alice2".into(), groups: vec![] }, Some("correct horse battery"))
        .await
        .unwrap();
    let link = Change::AccountLink { account: "alice2".parse().unwrap(), person: "alice".into() };
    place.change(&admin, link, None).await.unwrap();
    let member = Change::MemberAdd { group: "local:security".parse().unwrap(), person: "alice".into() };
    place.change(&admin, member, None).await.unwrap();
    let second = place.login("alice2").await;
    assert_eq!(second.person, alice.person);
    place.next_code();
    let view = place.asked(&alice).await;
    assert_eq!(why(place.world.answer(&second, &view).await), Rejection::OwnRequest);

    // A token acts for bob and never answers for him.
    let bob = place.login("bob").await;
    let code = place.world.code("bob");
    place.engine().freshen(&bob, &code).await.unwrap();
    let bob = place.login("bob").await;
    let stale = place.engine().create_token(&bob, "ci", vec!["*".into()], Duration::from_mins(5)).await;
    assert!(matches!(stale, Err(EngineError::StaleSession)), "a password is not fresh enough for who has a factor");
    place.next_code();
    let login = place
        .engine()
        .login("bob", "correct horse battery".into(), Some(place.world.code("bob")), "127.0.0.1")
        .await
        .unwrap();
    let bob = place.engine().authenticate(&login.token, "127.0.0.1").await.unwrap();
    let token = place.engine().create_token(&bob, "ci", vec!["*".into()], Duration::from_mins(5)).await.unwrap();
    let program = place.engine().authenticate(&token.token, "127.0.0.1").await.unwrap();
    place.next_code();
    assert!(matches!(place.world.answer(&program, &view).await, Err(EngineError::NotPermitted(_))));
    assert!(matches!(place.engine().deny(&program, view.request.id, None).await, Err(EngineError::NotPermitted(_))));
}

async fn attack_04_an_answer_by_somebody_who_is_not_on_the_list_or_with_a_borrowed_code() {
    let place = Place::usual().await;
    let (alice, bob, admin) = (place.login("alice").await, place.login("bob").await, place.login("admin").await);
    let view = place.asked(&alice).await;
    // An administrator sees it; that makes him no approver.
    assert_eq!(why(place.world.answer(&admin, &view).await), Rejection::NotEligible);
    // Alice presents bob's code as her own, and carol's code as bob.
    let challenge = view.request.stage.challenges()[0].id;
    let borrowed = Proof { challenge, code: place.world.code("bob"), digest: view.request.digest };
    assert_eq!(why(place.engine().answer(&alice, view.request.id, &borrowed).await), Rejection::OwnRequest);
    let borrowed = Proof { challenge, code: place.world.code("carol"), digest: view.request.digest };
    assert_eq!(why(place.engine().answer(&bob, view.request.id, &borrowed).await), Rejection::WrongFactor);
    // The code of an empty secret is public; here it proves nothing.
    let empty = Proof { challenge, code: "812658".into(), digest: view.request.digest };
    assert_eq!(why(place.engine().answer(&bob, view.request.id, &empty).await), Rejection::WrongFactor);
}

async fn attack_05_one_human_in_two_groups_fills_one_place() {
    let place = Place::usual().await;
    let (alice, bob, carol) = (place.login("alice").await, place.login("bob").await, place.login("carol").await);
    let drop = ask("table.drop", "prod", Value::from("users"), Some("old"));
    let view = place.engine().ask(&alice, &drop).await.unwrap().into_view();
    let view = place.world.answer(&carol, &view).await.unwrap();
    assert!(view.request.is_pending(), "carol is of both groups and still one person");
    place.next_code();
    assert_eq!(why(place.world.answer(&carol, &view).await), Rejection::AlreadyAnswered);
    let view = place.world.answer(&bob, &view).await.unwrap();
    assert!(matches!(view.request.stage, Stage::Granted { .. }), "bob takes security, carol moves to dba");
}

async fn attack_07_an_approver_is_removed_or_disabled_between_approval_and_release() {
    for change in [
        Change::MemberRemove { group: "local:security".parse().unwrap(), person: "bob".into() },
        Change::PersonDisable { name: "bob".into() },
    ] {
        let place = Place::usual().await;
        let (alice, bob, admin) = (place.login("alice").await, place.login("bob").await, place.login("admin").await);
        let view = place.granted(&alice, &bob).await;
        place.change(&admin, change, None).await.unwrap();
        let refused = place.engine().release(&alice, view.request.id).await;
        assert!(matches!(refused, Err(EngineError::RefusedByPolicy { .. })), "{refused:?}");
    }
}

async fn attack_07b_disabling_acts_at_once() {
    let place = Place::usual().await;
    let login = place.engine().login("bob", "correct horse battery".into(), None, "127.0.0.1").await.unwrap();
    let (alice, bob, admin) = (place.login("alice").await, place.login("bob").await, place.login("admin").await);
    let view = place.asked(&alice).await;
    place.change(&admin, Change::PersonDisable { name: "bob".into() }, None).await.unwrap();
    assert!(matches!(place.engine().authenticate(&login.token, "127.0.0.1").await, Err(EngineError::Unauthenticated)));
    // Also a call that was authenticated a moment before.
    assert!(place.world.answer(&bob, &view).await.is_err());
    assert!(matches!(
        place.engine().login("bob", "correct horse battery".into(), None, "127.0.0.1").await,
        Err(EngineError::LoginRefused)
    ));
}

async fn attack_09_the_policy_changes_while_a_request_waits() {
    let place = Place::usual().await;
    let (alice, bob, admin) = (place.login("alice").await, place.login("bob").await, place.login("admin").await);
    let waiting = place.asked(&alice).await;
    let granted = place.granted(&alice, &bob).await;
    assert_eq!(waiting.request.id, granted.request.id, "re-attached");
    let second = place.engine().ask(&alice, &command(&["uptime"], Some("to see"))).await.unwrap().into_view();
    // Looser: what was asked under the old text keeps its demands.
    let loose = "version = 1\n[[rule]]\nid = \"open\"\neffect = \"allow\"\naction = \"command.run\"\n";
    place.change(&admin, Change::PolicyApply { text: loose.into() }, None).await.unwrap();
    let refused = place.engine().release(&alice, second.request.id).await;
    assert!(matches!(refused, Err(EngineError::Conflict { .. })), "{refused:?}");
    // Stricter: today's deny reaches what was granted before.
    let strict = "version = 1\n[[rule]]\nid = \"stop\"\neffect = \"deny\"\naction = \"command.run\"\n";
    place.change(&admin, Change::PolicyApply { text: strict.into() }, None).await.unwrap();
    let refused = place.engine().release(&alice, granted.request.id).await;
    assert!(matches!(refused, Err(EngineError::RefusedByPolicy { .. })), "{refused:?}");
}

async fn attack_09b_an_answer_about_something_else_counts_for_nothing() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let view = place.asked(&alice).await;
    let other = place.engine().ask(&alice, &command(&["rm", "-rf", "/"], Some("to see"))).await.unwrap().into_view();
    let shown = place.engine().show(&bob, view.request.id).await.unwrap();
    let challenge = shown.you.challenge.unwrap();
    // Bob saw `id`; somebody sends his answer to `rm`.
    let moved = Proof { challenge, code: place.world.code("bob"), digest: shown.request.digest };
    assert_eq!(why(place.engine().answer(&bob, other.request.id, &moved).await), Rejection::OtherRequest);
    let edited = Proof { challenge, code: place.world.code("bob"), digest: Digest::sha256(b"something else") };
    assert_eq!(why(place.engine().answer(&bob, view.request.id, &edited).await), Rejection::OtherRequest);
    // Neither burnt the code.
    assert!(place.engine().answer(&bob, view.request.id, &moved).await.is_ok());
}

#[tokio::test]
async fn attack_09c_a_request_whose_row_was_edited_is_neither_approved_nor_released() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let view = place.asked(&alice).await;
    let second = place.engine().ask(&alice, &command(&["whoami"], Some("to see"))).await.unwrap().into_view();
    place.world.answer(&bob, &second).await.unwrap();
    let path = place.dir.path().join("countersign.db");
    let status = std::process::Command::new("sqlite3")
        .arg(&path)
        .arg("update requests set state = replace(replace(state, '\"id\"', '\"rm\"'), '\"whoami\"', '\"reboot\"')")
        .status()
        .expect("sqlite3, from Debian's package of that name");
    assert!(status.success());
    place.next_code();
    // `state` holds the member name "id" too, so the row may not even read: either way nothing happens.
    assert!(place.world.answer(&bob, &view).await.is_err());
    assert!(place.engine().release(&alice, second.request.id).await.is_err());
}

#[tokio::test]
async fn attack_09d_more_uses_are_written_into_the_database() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let view = place.asked(&alice).await;
    let path = place.dir.path().join("countersign.db");
    let edit = "update requests set state = replace(state, '\"uses\":1', '\"uses\":9')";
    let status = std::process::Command::new("sqlite3").arg(&path).arg(edit).status();
    assert!(status.expect("sqlite3, from Debian's package of that name").success());
    let edited = place.engine().show(&alice, view.request.id).await.unwrap();
    assert_eq!(edited.request.bounds.uses, 9, "the edit took");
    let refused = place.world.answer(&bob, &view).await;
    assert!(matches!(refused, Err(EngineError::Internal(_))), "{refused:?}");
}

async fn attack_10_a_code_is_replayed() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let first = place.asked(&alice).await;
    place.world.answer(&bob, &first).await.unwrap();
    let second = place.engine().ask(&alice, &command(&["uptime"], Some("to see"))).await.unwrap().into_view();
    // In its step, against another request.
    assert_eq!(why(place.world.answer(&bob, &second).await), Rejection::UsedCode);
    // In the next step, where it would still be current.
    let old = place.world.code("bob");
    place.next_code();
    let shown = place.engine().show(&bob, second.request.id).await.unwrap();
    let replay = Proof { challenge: shown.you.challenge.unwrap(), code: old, digest: shown.request.digest };
    assert_eq!(why(place.engine().answer(&bob, second.request.id, &replay).await), Rejection::UsedCode);
    // After a restart, and after the clock went back.
    let Place { world, db, dir: _dir } = place;
    let engine = world.engine.clone();
    drop(world.engine);
    drop(engine);
    let world = countersign_engine::testing::World {
        engine: reopen(&db.config, &world.clock).await,
        clock: world.clock,
        secrets: world.secrets,
    };
    let now = countersign_engine::Clock::now(&*world.clock);
    world.clock.set(now.minus(Duration::from_secs(30)));
    assert_eq!(why(world.answer(&bob, &second).await), Rejection::UsedCode);
}

async fn attack_10b_sixty_four_at_once_with_one_code_count_once() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let mut views = Vec::new();
    for n in 0..64 {
        let ask = command(&["echo", &n.to_string()], Some("to see"));
        views.push(place.engine().ask(&alice, &ask).await.unwrap().into_view());
    }
    let mut tasks = tokio::task::JoinSet::new();
    for view in views {
        let shown = place.engine().show(&bob, view.request.id).await.unwrap();
        let proof = Proof {
            challenge: shown.you.challenge.unwrap(),
            code: place.world.code("bob"),
            digest: shown.request.digest,
        };
        let (engine, bob) = (place.engine().clone(), bob.clone());
        tasks.spawn(async move { engine.answer(&bob, shown.request.id, &proof).await.is_ok() });
    }
    let counted = tasks.join_all().await.into_iter().filter(|counted| *counted).count();
    assert_eq!(counted, 1);
}

async fn attack_16_an_administrator_alone_approves_through_a_friend_he_just_made() {
    let mut people = PEOPLE.to_vec();
    people.push(("ann", &["administrators"]));
    let place = Place::with(&people, POLICY).await;
    let (admin, ann) = (place.login("admin").await, place.login("ann").await);
    let join = Change::MemberAdd { group: "local:security".parse().unwrap(), person: "admin".into() };
    // Alone he gets nowhere: the change waits for the other administrator.
    let view = place.change(&admin, join, None).await.unwrap();
    assert!(view.request.is_pending());
    place.next_code();
    let view = place.world.answer(&ann, &view).await.unwrap();
    assert!(matches!(view.request.stage, Stage::Granted { .. }));
    // Countersigned, it counts at once.
    let alice = place.login("alice").await;
    place.next_code();
    let asked = place.asked(&alice).await;
    assert!(place.world.answer(&admin, &asked).await.is_ok());
}

async fn attack_16b_what_came_without_a_countersignature_cools() {
    let place = Place::usual().await;
    let (admin, alice, dave) = (place.login("admin").await, place.login("alice").await, place.login("dave").await);
    // While there is one administrator nothing waits.
    let join = Change::MemberAdd { group: "local:security".parse().unwrap(), person: "dave".into() };
    place.change(&admin, join, None).await.unwrap();
    place.next_code();
    let asked = place.asked(&alice).await;
    assert!(place.world.answer(&dave, &asked).await.is_ok());
    // With the second administrator, what was never countersigned has to be a day old.
    let second = Change::MemberAdd { group: "local:administrators".parse().unwrap(), person: "carol".into() };
    place.change(&admin, second, None).await.unwrap();
    place.world.clock.advance(Duration::from_mins(6));
    let alice = place.login("alice").await;
    let asked = place.engine().ask(&alice, &command(&["uptime"], Some("to see"))).await.unwrap().into_view();
    let refused = place.world.answer(&dave, &asked).await;
    assert_eq!(why(refused), Rejection::NotEligible);
}

async fn attack_18_two_amounts_past_two_to_the_53_are_two_operations() {
    let place = Place::usual().await;
    let alice = place.login("alice").await;
    let mut digests = Vec::new();
    for amount in ["9007199254740992", "9007199254740993"] {
        let parameters = Value::parse(format!("{{\"amount\":{amount}}}").as_bytes()).unwrap();
        let view =
            place.engine().ask(&alice, &ask("command.run", "bank", parameters, Some("pay"))).await.unwrap().into_view();
        digests.push((view.request.id, view.request.fingerprint));
    }
    for bytes in [b"\xff".as_slice(), b"\xfe".as_slice()] {
        let parameters = Value::array([Value::bytes_or_string(bytes)]);
        let view =
            place.engine().ask(&alice, &ask("command.run", "bank", parameters, Some("pay"))).await.unwrap().into_view();
        digests.push((view.request.id, view.request.fingerprint));
    }
    digests.sort_by_key(|(_, fingerprint)| *fingerprint);
    digests.dedup_by_key(|(_, fingerprint)| *fingerprint);
    assert_eq!(digests.len(), 4);
}

async fn reopen(
    config: &countersign_store::StoreConfig,
    clock: &std::sync::Arc<countersign_engine::testing::ManualClock>,
) -> countersign_engine::Engine {
    let store = countersign_store::Store::open(config).await.unwrap();
    countersign_engine::testing::start(store, std::sync::Arc::clone(clock), 99).await.unwrap()
}
