//! Administration is no bypass.

use std::time::Duration;

use countersign_core::request::Stage;
use countersign_engine::EngineError;
use countersign_engine::identity::Change;
use countersign_engine::testing::{PASSWORD, PEOPLE, POLICY};

use crate::support::{Place, on_both};

on_both!(
    one_administrator_confirms_with_his_own_code_and_nothing_happens_before,
    others_do_not_administer_and_a_token_does_not_confirm,
    a_change_cannot_pass_for_another_one,
    a_policy_is_applied_by_the_flow_and_a_broken_one_never,
    a_changed_policy_file_is_a_proposal_that_people_decide,
    the_last_administrator_stays,
    a_reset_factor_proves_nothing_and_a_locked_one_opens_again,
    a_service_asks_with_its_token_where_no_person_is_needed,
    a_new_person_enrolls_with_the_password_alone_once,
);

async fn one_administrator_confirms_with_his_own_code_and_nothing_happens_before() {
    let place = Place::usual().await;
    let admin = place.login("admin").await;
    let add = Change::PersonAdd { name: "erin".into(), groups: vec!["local:dba".parse().unwrap()] };
    let asked = place
        .engine()
        .administer(&admin, add, Some("a long enough secret".into()), None, None)
        .await
        .unwrap()
        .into_view();
    assert!(asked.request.is_pending());
    assert!(place.engine().login("erin", "a long enough secret".into(), None, "127.0.0.1").await.is_err());
    let done = place.world.answer(&admin, &asked).await.unwrap();
    assert!(matches!(done.request.stage, Stage::Granted { .. }));
    assert_eq!(done.releases.len(), 1);
    assert!(place.engine().login("erin", "a long enough secret".into(), None, "127.0.0.2").await.is_ok());
    let json = serde_json::to_string(&done.request.operation.parameters).unwrap();
    assert!(!json.contains("secret"), "approvers see no password: {json}");
}

async fn others_do_not_administer_and_a_token_does_not_confirm() {
    let place = Place::usual().await;
    let bob = place.login("bob").await;
    let join = Change::MemberAdd { group: "local:administrators".parse().unwrap(), person: "bob".into() };
    let refused = place.engine().administer(&bob, join.clone(), None, None, None).await;
    assert!(matches!(refused, Err(EngineError::NotPermitted(_))), "{refused:?}");
    // Also when it is asked for as an operation, past the administration's own door.
    let ask = countersign_engine::testing::ask(
        "admin.member.add",
        "local:administrators",
        join.to_parameters().unwrap(),
        None,
    );
    let refused = place.engine().ask(&bob, &ask).await;
    assert!(matches!(refused, Err(EngineError::NotPermitted(_))), "{refused:?}");
}

async fn a_change_cannot_pass_for_another_one() {
    let place = Place::usual().await;
    let admin = place.login("admin").await;
    // Policy would judge `admin.throttle.clear`, and the policy itself would be replaced.
    let parameters = Change::PolicyApply { text: "version = 1\n".into() }.to_parameters().unwrap();
    let ask = countersign_engine::testing::ask("admin.throttle.clear", "bob", parameters, None);
    let refused = place.engine().ask(&admin, &ask).await;
    assert!(matches!(refused, Err(EngineError::NotPermitted(_))), "{refused:?}");
}

async fn a_policy_is_applied_by_the_flow_and_a_broken_one_never() {
    let place = Place::usual().await;
    let admin = place.login("admin").await;
    let before = place.engine().policy().0;
    let broken = Change::PolicyApply { text: "version = 1\n[[rule]]\nid = \"x\"\neffect = \"require\"\naction = \"a.b\"\nquorum = [{ k = 9, of = \"local:security\" }]\n".into() };
    let refused = place.engine().administer(&admin, broken, None, None, None).await;
    assert!(
        matches!(&refused, Err(EngineError::Invalid(why)) if why.contains("policy.toml:") && why.contains("rule x")),
        "{refused:?}"
    );
    let text = format!("{POLICY}\n[[rule]]\nid = \"more\"\neffect = \"allow\"\naction = \"report.write\"\n");
    place.change(&admin, Change::PolicyApply { text: text.clone() }, None).await.unwrap();
    assert_ne!(place.engine().policy().0, before);
    assert_eq!(place.engine().policy().1, text);
}

async fn a_changed_policy_file_is_a_proposal_that_people_decide() {
    let mut people = PEOPLE.to_vec();
    people.push(("ann", &["administrators"]));
    let place = Place::with(&people, POLICY).await;
    let text = format!("{POLICY}# changed\n");
    let before = place.engine().policy().0;
    let proposal = place.engine().propose_policy(&text).await.unwrap().into_view();
    let again = place.engine().propose_policy(&text).await.unwrap().into_view();
    assert_eq!(proposal.request.id, again.request.id, "a second start finds the same proposal");
    // Nobody knows who edited the file, so two have to agree.
    let (admin, ann) = (place.login("admin").await, place.login("ann").await);
    let view = place.world.answer(&admin, &proposal).await.unwrap();
    assert!(view.request.is_pending());
    assert_eq!(place.engine().policy().0, before);
    place.world.answer(&ann, &view).await.unwrap();
    assert_ne!(place.engine().policy().0, before);
}

async fn the_last_administrator_stays() {
    let place = Place::usual().await;
    let admin = place.login("admin").await;
    for change in [
        Change::PersonDisable { name: "admin".into() },
        Change::PersonRemove { name: "admin".into() },
        Change::MemberRemove { group: "local:administrators".parse().unwrap(), person: "admin".into() },
        Change::GroupRemove { group: "local:administrators".parse().unwrap() },
        Change::GroupRemove { group: "local:security".parse().unwrap() },
    ] {
        let refused = place.engine().administer(&admin, change.clone(), None, None, None).await;
        assert!(matches!(refused, Err(EngineError::Invalid(_))), "{change:?}: {refused:?}");
    }
}

async fn a_reset_factor_proves_nothing_and_a_locked_one_opens_again() {
    let place = Place::usual().await;
    let (admin, alice, bob) = (place.login("admin").await, place.login("alice").await, place.login("bob").await);
    let view = place.asked(&alice).await;
    let shown = place.engine().show(&bob, view.request.id).await.unwrap();
    for _ in 0..5 {
        let mut proof = place.world.proof("bob", &shown).unwrap();
        proof.code = "000000".into();
        drop(place.engine().answer(&bob, view.request.id, &proof).await);
    }
    assert!(matches!(place.world.answer(&bob, &view).await, Err(EngineError::TooManyAttempts { .. })));
    // The next code comes 30 s later, so the delay is over anyway: what counts is that the counter is gone.
    place.change(&admin, Change::ThrottleClear { name: "bob".into() }, None).await.unwrap();
    for _ in 0..4 {
        let mut proof = place.world.proof("bob", &shown).unwrap();
        proof.code = "000000".into();
        drop(place.engine().answer(&bob, view.request.id, &proof).await);
    }
    assert!(place.world.answer(&bob, &view).await.is_ok());
    place.change(&admin, Change::FactorReset { name: "bob".into() }, None).await.unwrap();
    place.next_code();
    let ask = countersign_engine::testing::command(&["uptime"], Some("to see"));
    let other = place.engine().ask(&alice, &ask).await.unwrap().into_view();
    assert!(!other.can_approve.iter().any(|(_, people)| people.contains(&"bob".to_owned())));
    assert!(place.world.answer(&bob, &other).await.is_err());
}

async fn a_service_asks_with_its_token_where_no_person_is_needed() {
    let place = Place::usual().await;
    let admin = place.login("admin").await;
    place.change(&admin, Change::ServiceAdd { name: "ci".into() }, None).await.unwrap();
    let random = countersign_keys::testing::SeededRandom::new(3);
    let token = countersign_keys::opaque::OpaqueToken::generate(&random, "token").unwrap();
    let add = Change::ServiceTokenAdd {
        service: "ci".into(),
        name: "build".into(),
        scopes: vec!["report.*".into(), "command.run".into()],
        ttl_secs: 3_600,
        sha256: countersign_core::digest::Digest::from_bytes(token.hash()),
    };
    place.change(&admin, add, None).await.unwrap();
    let ci = place.engine().authenticate(token.text(), "127.0.0.1").await.unwrap();
    let report =
        countersign_engine::testing::ask("report.read", "sales", countersign_core::canonical::Value::Null, None);
    assert!(place.engine().ask(&ci, &report).await.is_ok());
    let command = countersign_engine::testing::command(&["id"], Some("to see"));
    let refused = place.engine().ask(&ci, &command).await;
    assert!(matches!(&refused, Err(EngineError::RefusedByPolicy { why }) if why.contains("link up=")), "{refused:?}");
    place.world.clock.advance(Duration::from_hours(1));
    assert!(place.engine().authenticate(token.text(), "127.0.0.1").await.is_err());
}

async fn a_new_person_enrolls_with_the_password_alone_once() {
    let place = Place::usual().await;
    let admin = place.login("admin").await;
    place.change(&admin, Change::PersonAdd { name: "erin".into(), groups: vec![] }, Some(PASSWORD)).await.unwrap();
    let erin = place.login("erin").await;
    assert!(place.engine().begin_enrolment(&erin).await.is_ok());
    place.world.clock.advance(Duration::from_mins(6));
    assert!(matches!(place.engine().begin_enrolment(&erin).await, Err(EngineError::StaleSession)));
}
