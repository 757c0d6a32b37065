//! A person is erased: the words go, the proofs stay.

use std::path::Path;
use std::time::Duration;

use countersign_core::principal::Principal;
use countersign_core::request::Stage;
use countersign_engine::EngineError;
use countersign_engine::flow::View;
use countersign_engine::identity::Change;
use countersign_engine::testing::{PEOPLE, POLICY, command};
use countersign_ledger::Receipt;

use crate::support::{Place, on_both};

on_both!(
    a_name_that_was_erased_is_nobody_s_again,
    nobody_erases_himself_the_last_administrator_or_what_still_goes_on,
    a_second_administrator_agrees_and_a_long_history_goes_page_by_page,
);

/// Nothing else in any file says these.
const ALICE: &str = "alice-wonderland";
const WORDS: &[&str] = &[ALICE, "curiouser", "rabbit-hole", "10.9.8.7", "looking-glass"];

/// The usual people, with a name that can be looked for in files.
async fn place() -> Place {
    let mut people = PEOPLE.to_vec();
    people.push((ALICE, &["security"]));
    Place::with(&people, POLICY).await
}

fn erase() -> Change {
    Change::PersonErase { name: ALICE.into() }
}

/// Everything that an erasure still has to do, page by page, and its last look.
async fn finish(place: &Place) {
    for _ in 0..200 {
        place.engine().fire_due().await.unwrap();
        place.world.clock.advance(Duration::from_secs(1));
    }
    place.engine().sequence().await.unwrap();
}

async fn receipt(place: &Place, who: &Principal, view: &View) -> Receipt {
    let json = place.engine().receipt(who, view.request.id, Duration::ZERO).await.unwrap();
    Receipt::from_json(json.as_bytes()).unwrap()
}

/// How often a word is in the files of a folder, as bytes.
fn found(dir: &Path, word: &str) -> usize {
    let files = std::fs::read_dir(dir).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    files.map(|bytes| bytes.windows(word.len()).filter(|window| *window == word.as_bytes()).count()).sum()
}

struct Story {
    place: Place,
    admin: Principal,
    /// Alice's own request, which was granted, used and ended.
    own: View,
    /// Another one's request, which she approved, and one that she denied.
    approved: View,
    denied: View,
}

async fn story() -> Story {
    let place = place().await;
    let engine = place.engine();
    let (admin, bob) = (place.login("admin").await, place.login("bob").await);
    let code = Some(place.world.code(ALICE));
    let login = engine.login(ALICE, countersign_engine::testing::PASSWORD.into(), code, "10.9.8.7").await.unwrap();
    let alice = engine.authenticate(&login.token, "10.9.8.7").await.unwrap();
    engine.create_token(&alice, "looking-glass", vec!["command.*".into()], Duration::from_hours(1)).await.unwrap();
    drop(engine.login(ALICE, "wrong wrong wrong".into(), None, "10.9.8.7").await);
    let asked = engine.ask(&alice, &command(&["dig", "rabbit-hole"], Some("curiouser"))).await.unwrap().into_view();
    place.world.answer(&bob, &asked).await.unwrap();
    let released = engine.release(&alice, asked.request.id).await.unwrap();
    let own = engine.report(&alice, released.release, "fell down the rabbit-hole").await.unwrap();
    let carol = place.login("carol").await;
    let asked = engine.ask(&carol, &command(&["uptime"], Some("to see"))).await.unwrap().into_view();
    place.next_code();
    let approved = place.world.answer(&alice, &asked).await.unwrap();
    let asked = engine.ask(&carol, &command(&["who"], Some("to see"))).await.unwrap().into_view();
    let denied = engine.deny(&alice, asked.request.id, Some("not now")).await.unwrap();
    place
        .change(&admin, Change::MemberAdd { group: "local:dba".parse().unwrap(), person: ALICE.into() }, None)
        .await
        .unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    engine.run_failed_logins(stop).await;
    engine.sequence().await.unwrap();
    Story { place, admin, own, approved, denied }
}

#[tokio::test]
async fn words_go_and_what_was_proved_stays_proved() {
    let Story { place, admin, own, approved, denied } = Box::pin(story()).await;
    let before = receipt(&place, &admin, &own).await;
    assert_eq!(before.verify(None, None).unwrap().entries[0].text("requester"), Some(ALICE));
    let salt = before.entries[0].openings["operation"].0.to_base64();
    assert!(found(place.dir.path(), &salt) > 0 && WORDS.iter().all(|word| found(place.dir.path(), word) > 0));

    let done = place.change(&admin, erase(), None).await.unwrap();
    assert!(matches!(done.request.stage, Stage::Granted { .. }));
    finish(&place).await;

    // The receipt of before proves what it proved, the one of now the same without the words.
    assert!(before.verify(None, Some(own.request.id)).is_ok());
    let after = receipt(&place, &admin, &own).await;
    let verified = after.verify(None, Some(own.request.id)).unwrap();
    assert!(verified.gapless && verified.entries.len() == before.entries.len());
    assert!(verified.entries.iter().all(|entry| entry.opened.is_empty()));
    assert!(verified.entries[0].is_closed("operation") && verified.entries[0].is_closed("requester"));
    // Of the others' stories only the name is gone.
    let carols = receipt(&place, &admin, &approved).await.verify(None, None).unwrap();
    assert_eq!((carols.entries[0].text("requester"), carols.entries[1].text("factor")), (Some("carol"), Some("totp")));
    assert!(carols.entries[1].is_closed("person"));
    let carols = receipt(&place, &admin, &denied).await.verify(None, None).unwrap();
    assert_eq!(carols.entries[1].text("why"), Some("not now"));
    assert!(carols.entries[1].is_closed("person"));

    // What the rows say now.
    let own = place.engine().show(&admin, own.request.id).await.unwrap();
    assert_eq!((own.request.operation.target.as_str(), own.request.reason.as_deref()), ("erased", Some("erased")));
    assert!(own.request.person.unwrap().name.starts_with("erased-"));
    let approved = place.engine().show(&admin, approved.request.id).await.unwrap();
    assert!(
        approved.request.digest_holds() && approved.request.approvals()[0].evidence.person.name.starts_with("erased-")
    );
    let first = place.engine().fire_due().await.unwrap();
    assert_eq!(first, 0, "nothing is left to do");

    // Stopped cleanly, nothing of it is in any file, salts included.
    let Place { world, dir, .. } = place;
    drop(world);
    for word in WORDS.iter().copied().chain([salt.as_str()]) {
        assert_eq!(found(dir.path(), word), 0, "{word}");
    }
    assert!(found(dir.path(), "carol") > 0);
}

async fn a_name_that_was_erased_is_nobody_s_again() {
    let place = place().await;
    let admin = place.login("admin").await;
    place.change(&admin, erase(), None).await.unwrap();
    assert!(
        place.engine().login(ALICE, countersign_engine::testing::PASSWORD.into(), None, "127.0.0.1").await.is_err()
    );
    finish(&place).await;
    let password = Some(countersign_engine::testing::PASSWORD);
    for change in [
        Change::PersonAdd { name: ALICE.into(), groups: vec![] },
        Change::PersonAdd { name: "erased-0123456789ab".into(), groups: vec![] },
    ] {
        let refused = place.change(&admin, change.clone(), password).await;
        assert!(matches!(refused, Err(EngineError::Invalid(_))), "{change:?}: {refused:?}");
    }
    let refused = place.change(&admin, Change::ServiceAdd { name: ALICE.into() }, None).await;
    assert!(matches!(refused, Err(EngineError::Invalid(_))), "{refused:?}");
    // And he himself does not come back under the name that is left of him.
    let people = place.engine().people(&admin, None, 200).await.unwrap().items;
    let left = people.iter().map(|person| person.name.clone()).find(|name| name.starts_with("erased-")).unwrap();
    for change in [
        Change::PersonEnable { name: left.clone() },
        Change::MemberAdd { group: "local:dba".parse().unwrap(), person: left },
    ] {
        let refused = place.change(&admin, change.clone(), None).await;
        assert!(matches!(refused, Err(EngineError::Invalid(_))), "{change:?}: {refused:?}");
    }
}

async fn nobody_erases_himself_the_last_administrator_or_what_still_goes_on() {
    let place = place().await;
    let admin = place.login("admin").await;
    let refused = place.change(&admin, Change::PersonErase { name: "admin".into() }, None).await;
    assert!(matches!(&refused, Err(EngineError::Invalid(why)) if why.contains("himself")), "{refused:?}");
    let alice = place.login(ALICE).await;
    let waiting = place.asked(&alice).await;
    let refused = place.change(&admin, erase(), None).await;
    assert!(matches!(&refused, Err(EngineError::Invalid(why)) if why.contains("requests that wait")), "{refused:?}");
    place.engine().cancel(&alice, waiting.request.id).await.unwrap();
    place.change(&admin, erase(), None).await.unwrap();
}

async fn a_second_administrator_agrees_and_a_long_history_goes_page_by_page() {
    let mut people = PEOPLE.to_vec();
    people.push((ALICE, &["security"]));
    people.push(("ann", &["administrators"]));
    let place = Place::with(&people, POLICY).await;
    let (admin, ann, alice) = (place.login("admin").await, place.login("ann").await, place.login(ALICE).await);
    for n in 0..70 {
        let ask = command(&["dig", &n.to_string()], Some("curiouser"));
        let view = place.engine().ask(&alice, &ask).await.unwrap().into_view();
        place.engine().cancel(&alice, view.request.id).await.unwrap();
    }
    let asked = place.change(&admin, erase(), None).await.unwrap();
    assert!(asked.request.is_pending(), "one administrator alone erases nobody");
    assert_eq!(place.engine().fire_due().await.unwrap(), 0);
    let granted = place.world.answer(&ann, &asked).await.unwrap();
    assert!(!granted.request.is_pending());
    // Somebody dies over it: another process goes on with what is left.
    place.engine().fire_due().await.unwrap();
    place.engine().fire_due().await.unwrap();
    let store = place.engine().store().clone();
    let next = countersign_engine::testing::start(store, place.world.clock.clone(), 9).await.unwrap();
    place.world.clock.advance(Duration::from_secs(11));
    for _ in 0..200 {
        next.fire_due().await.unwrap();
        place.world.clock.advance(Duration::from_secs(1));
    }
    let mut cursor = None;
    let person = asked.request.person.clone();
    assert!(person.is_some());
    drop(next);
    loop {
        let before = cursor;
        let query = countersign_store::RequestsOf { whose: countersign_store::Whose::Everybody, before, limit: 50 };
        let page = place.engine().store().load(query).await.unwrap();
        let Some(last) = page.last() else { break };
        cursor = Some(last.id);
        for request in page {
            let json = serde_json::to_string(&request).unwrap();
            assert!(!json.contains(ALICE) && !json.contains("curiouser"), "{json}");
        }
    }
}
