//! Questions and their answers.

use std::time::Duration;

use countersign_core::changes::{OutboxMessage, Timer, TimerKind, Write};
use countersign_core::identity::AuthenticatorState;
use countersign_core::ids::OutboxId;
use countersign_core::names::GroupName;
use countersign_core::throttle::{Throttle, ThrottleKey};
use countersign_core::time::Micros;
use countersign_store::{
    AccountByName, Administrators, AuthenticatorById, Commit, CommitError, Expectation, Fence, InboxCursor, InboxFor,
    LiveCredentials, NextTimer, PeopleOf, RequestForAnswer, RequestsByFingerprint, RequestsOf, SessionByHash, Store,
    SystemWrite, TokenByHash, Whose,
};

use crate::support::{
    Db, NOW, account, answered, authenticator, granted, group, membership, on_both, person, request, session, token,
    write,
};

on_both! {
    the_people_of_groups_come_once_with_what_counts,
    an_answer_has_all_that_it_is_decided_by,
    an_inbox_pages_by_urgency_and_names_each_request_once,
    requests_are_found_by_their_words_while_they_are_open,
    credentials_bring_their_account_and_person,
    what_refers_to_nothing_is_refused,
    an_enrolment_takes_both_codes_and_a_removed_factor_takes_none,
    a_message_has_one_owner_until_its_claim_ends,
    a_lease_is_fenced,
    timers_come_when_they_are_due,
}

async fn people(store: &Store) {
    let (alice, bob, carol) = (person(1), person(2), person(3));
    let administrators = GroupName::administrators();
    let mut writes = vec![
        Write::InsertGroup { group: group("dba"), created_at: NOW },
        Write::InsertGroup { group: group("security"), created_at: NOW },
        Write::InsertGroup { group: administrators.clone(), created_at: NOW },
        Write::PutMembership(membership(&administrators, &alice)),
        Write::PutMembership(membership(&group("dba"), &bob)),
        Write::PutMembership(membership(&group("security"), &bob)),
        Write::PutMembership(membership(&group("security"), &carol)),
        Write::InsertAuthenticator(authenticator(1, &alice, AuthenticatorState::Active)),
        Write::InsertAuthenticator(authenticator(2, &bob, AuthenticatorState::Active)),
        Write::InsertAuthenticator(authenticator(3, &carol, AuthenticatorState::Pending)),
        Write::InsertAccount(account(1, Some(&alice))),
        Write::InsertAccount(account(2, None)),
    ];
    writes.extend([alice, bob, carol].map(Write::InsertPerson));
    write(store, writes).await;
}

async fn the_people_of_groups_come_once_with_what_counts(db: Db) {
    let store = db.open().await;
    people(&store).await;
    let rows = store
        .load(PeopleOf { persons: vec![person(1).id, person(9).id], groups: vec![group("dba"), group("security")] })
        .await
        .unwrap();
    assert_eq!(rows.persons, [person(1), person(2), person(3)]);
    assert_eq!(rows.memberships.len(), 4);
    let active = [
        authenticator(1, &person(1), AuthenticatorState::Active),
        authenticator(2, &person(2), AuthenticatorState::Active),
    ];
    assert_eq!(rows.authenticators, active);
    assert_eq!(rows.administrators, 1);
    let mut alice = person(1);
    alice.active = false;
    alice.version = 2;
    write(&store, vec![Write::UpdatePerson(alice)]).await;
    assert_eq!(store.load(Administrators).await.unwrap(), 0);
}

async fn an_answer_has_all_that_it_is_decided_by(db: Db) {
    let store = db.open().await;
    people(&store).await;
    let (bob, totp) = (person(2), authenticator(2, &person(2), AuthenticatorState::Active));
    let mut asked = request(1, &account(1, None), &[group("security")]);
    asked.person = Some(person(1).reference());
    let second = answered(asked.clone(), &bob, &totp);
    let key = ThrottleKey { subject: format!("totp:{}", totp.id), source: "192.0.2.7".to_owned() };
    let failed = Throttle::new(key.clone()).failed(NOW);
    write(&store, vec![Write::InsertRequest(Box::new(asked)), Write::Throttle(failed)]).await;
    write(&store, vec![Write::UpdateRequest { request: Box::new(second.clone()), from: 1 }]).await;
    let query = RequestForAnswer { request: second.id, person: bob.id, source: key.source.clone() };
    let rows = store.load(query).await.unwrap().unwrap();
    assert_eq!(rows.request, second);
    // Who takes part, and nobody else of the group.
    assert_eq!(rows.people.persons, [person(1), person(2)]);
    assert_eq!(rows.authenticators, [totp]);
    assert_eq!(rows.throttles.iter().map(|row| (&row.key, row.failures)).collect::<Vec<_>>(), [(&key, 1)]);
}

async fn an_inbox_pages_by_urgency_and_names_each_request_once(db: Db) {
    let store = db.open().await;
    let by = account(1, None);
    let (dba, security) = (group("dba"), group("security"));
    let mut all = Vec::new();
    for n in 0..7 {
        let mut asked = request(n, &by, &[]);
        asked.deadline = NOW.plus(Duration::from_secs(u64::from(n % 3)));
        let groups = if n % 2 == 0 { vec![dba.clone(), security.clone()] } else { vec![security.clone()] };
        let inbox = Write::InsertInbox { request: asked.id, groups, deadline: asked.deadline };
        write(&store, vec![Write::InsertRequest(Box::new(asked.clone())), inbox]).await;
        all.push(asked);
    }
    all.sort_by_key(|asked| (asked.deadline, asked.id));
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = InboxFor { groups: vec![dba.clone(), security.clone()], after, limit: 2 };
        let page = store.load(page).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(InboxCursor { deadline: last.deadline, request: last.id });
        seen.extend(page);
    }
    assert_eq!(seen, all);
    write(&store, vec![Write::ClearInbox { request: all[0].id }]).await;
    let page = store.load(InboxFor { groups: vec![dba, security], after: None, limit: 10 }).await.unwrap();
    assert_eq!(page, all[1..]);
}

async fn requests_are_found_by_their_words_while_they_are_open(db: Db) {
    let store = db.open().await;
    let (by, other) = (account(1, None), account(2, None));
    let asked: Vec<_> = (0..4).map(|n| request(n, &by, &[])).collect();
    write(&store, asked.iter().map(|asked| Write::InsertRequest(Box::new(asked.clone()))).collect()).await;
    let (live, spent) = (granted(asked[1].clone(), 1), granted(asked[2].clone(), 0));
    for new in [&live, &spent] {
        write(&store, vec![Write::UpdateRequest { request: Box::new(new.clone()), from: 1 }]).await;
    }
    let fingerprint = asked[0].fingerprint;
    let found = store.load(RequestsByFingerprint { account: by.id, fingerprint }).await.unwrap();
    assert_eq!(found, [asked[3].clone(), live.clone(), asked[0].clone()]);
    assert_eq!(store.load(RequestsByFingerprint { account: other.id, fingerprint }).await.unwrap(), []);
    let page = store.load(RequestsOf { whose: Whose::Account(by.id), before: None, limit: 2 }).await.unwrap();
    assert_eq!(page, [asked[3].clone(), spent.clone()]);
    let page = store.load(RequestsOf { whose: Whose::Everybody, before: Some(spent.id), limit: 9 }).await.unwrap();
    assert_eq!(page, [live, asked[0].clone()]);
}

async fn credentials_bring_their_account_and_person(db: Db) {
    let store = db.open().await;
    people(&store).await;
    let (with, without) = (account(1, Some(&person(1))), account(2, None));
    let (login, program) = (session(1, &with), token(1, &without));
    write(&store, vec![Write::InsertSession(login.clone()), Write::InsertToken(program.clone())]).await;
    let row = store.load(SessionByHash(login.hash)).await.unwrap().unwrap();
    assert_eq!((row.session, row.account, row.person), (login.clone(), with, Some(person(1))));
    let row = store.load(TokenByHash(program.hash)).await.unwrap().unwrap();
    assert_eq!((row.token, row.account, row.person), (program.clone(), without.clone(), None));
    let live = store.load(LiveCredentials { now: NOW }).await.unwrap();
    assert_eq!((live.sessions.len(), live.tokens.len()), (1, 1));
    let live = store.load(LiveCredentials { now: login.expires_at }).await.unwrap();
    assert_eq!((live.sessions.len(), live.tokens.len()), (0, 0));
    write(&store, vec![Write::RevokeToken { id: program.id, at: NOW }, Write::EndSession { id: login.id }]).await;
    let live = store.load(LiveCredentials { now: NOW }).await.unwrap();
    assert_eq!((live.sessions.len(), live.tokens.len()), (0, 0));
    let again = store.commit(Commit::from(vec![Write::RevokeToken { id: program.id, at: NOW }])).await;
    assert_eq!(again, Err(CommitError::Conflict(Expectation::TokenRevoked { id: program.id })));
    let row = store.load(AccountByName(without.name.clone())).await.unwrap().unwrap();
    assert_eq!(row.account, without);
}

async fn what_refers_to_nothing_is_refused(db: Db) {
    let store = db.open().await;
    let orphan = Commit::from(vec![Write::InsertAccount(account(1, Some(&person(1))))]);
    assert!(matches!(store.commit(orphan).await, Err(CommitError::Conflict(Expectation::Missing { .. }))));
    write(&store, vec![Write::InsertPerson(person(1)), Write::InsertAccount(account(1, Some(&person(1))))]).await;
    let mut same_name = account(2, None);
    same_name.name = account(1, None).name;
    let taken = store.commit(Commit::from(vec![Write::InsertAccount(same_name)])).await;
    assert!(matches!(taken, Err(CommitError::Conflict(Expectation::Exists { what: "account", .. }))), "{taken:?}");
}

async fn an_enrolment_takes_both_codes_and_a_removed_factor_takes_none(db: Db) {
    let store = db.open().await;
    people(&store).await;
    let pending = authenticator(3, &person(3), AuthenticatorState::Pending);
    let activate = |step| Write::ActivateAuthenticator { id: pending.id, step, enrolled_at: NOW, countersigned: false };
    write(&store, vec![activate(10)]).await;
    let not_pending = Err(CommitError::Conflict(Expectation::NotPending { authenticator: pending.id }));
    assert_eq!(store.commit(Commit::from(vec![activate(11)])).await, not_pending);
    let consume = |step| Commit::from(vec![Write::ConsumeStep { authenticator: pending.id, step }]);
    let used = Err(CommitError::Conflict(Expectation::StepUsed { authenticator: pending.id }));
    assert_eq!(store.commit(consume(10)).await, used);
    assert_eq!(store.commit(consume(11)).await, Ok(()));
    write(&store, vec![Write::RemoveAuthenticators { person: person(3).id, except: None }]).await;
    assert_eq!(store.commit(consume(12)).await, used);
    let row = store.load(AuthenticatorById(pending.id)).await.unwrap().unwrap();
    assert_eq!((row.state, row.last_step), (AuthenticatorState::Removed, 11));
}

async fn a_message_has_one_owner_until_its_claim_ends(db: Db) {
    let store = db.open().await;
    let message = |n| OutboxMessage {
        id: OutboxId::new(NOW, [n; 10]),
        topic: "notice.asked".to_owned(),
        payload: "{}".to_owned(),
        due_at: NOW,
    };
    write(&store, (0..3).map(|n| Write::InsertOutbox(message(n))).collect()).await;
    let soon = NOW.plus(Duration::from_secs(30));
    let mine = store.claim_outbox("a", NOW, soon, 2).await.unwrap();
    assert_eq!(mine.iter().map(|claimed| claimed.message.id).collect::<Vec<_>>(), [message(0).id, message(1).id]);
    let theirs = store.claim_outbox("b", NOW, soon, 9).await.unwrap();
    assert_eq!(theirs.len(), 1);
    write_system(&store, SystemWrite::FinishOutbox { id: message(0).id, owner: "a".to_owned() }).await.unwrap();
    let again = store.claim_outbox("b", soon, NOW.plus(Duration::from_mins(2)), 9).await.unwrap();
    assert_eq!(again.iter().map(|claimed| claimed.attempts).collect::<Vec<_>>(), [2, 2]);
    let late = write_system(&store, SystemWrite::FinishOutbox { id: message(1).id, owner: "a".to_owned() }).await;
    assert!(matches!(late, Err(CommitError::Conflict(Expectation::LeaseLost { .. }))));
    let later = SystemWrite::DeferOutbox { id: message(1).id, owner: "b".to_owned(), due_at: NOW };
    write_system(&store, later).await.unwrap();
    assert_eq!(store.claim_outbox("c", NOW, soon, 9).await.unwrap().len(), 1);
}

async fn a_lease_is_fenced(db: Db) {
    let store = db.open().await;
    let at = |seconds| NOW.plus(Duration::from_secs(seconds));
    assert_eq!(store.acquire_lease("sequencer", "a", at(0), at(10)).await, Ok(Some(Fence(1))));
    assert_eq!(store.acquire_lease("sequencer", "b", at(5), at(15)).await, Ok(None));
    assert_eq!(store.acquire_lease("sequencer", "a", at(5), at(15)).await, Ok(Some(Fence(1))));
    assert_eq!(store.acquire_lease("sequencer", "b", at(15), at(25)).await, Ok(Some(Fence(2))));
    let held = |owner: &str, fence| SystemWrite::HoldLease {
        name: "sequencer".to_owned(),
        owner: owner.to_owned(),
        fence: Fence(fence),
    };
    assert!(write_system(&store, held("a", 1)).await.is_err());
    assert!(write_system(&store, held("b", 1)).await.is_err());
    assert_eq!(write_system(&store, held("b", 2)).await, Ok(()));
}

async fn timers_come_when_they_are_due(db: Db) {
    let store = db.open().await;
    let asked = request(1, &account(1, None), &[]);
    let timer = |kind, due: Micros| Timer::request(kind, asked.id, due);
    let (early, late) = (NOW, NOW.plus(Duration::from_secs(1)));
    let set = vec![
        Write::SetTimer(timer(TimerKind::GrantEnd, late)),
        Write::SetTimer(timer(TimerKind::RequestDeadline, late)),
    ];
    write(&store, set).await;
    write(&store, vec![Write::SetTimer(timer(TimerKind::RequestDeadline, early))]).await;
    assert_eq!(store.load(NextTimer).await, Ok(Some(early)));
    let until = NOW.plus(Duration::from_mins(1));
    let due = async |now| store.claim_timers(now, until, 10).await.unwrap();
    assert_eq!(due(early).await, [timer(TimerKind::RequestDeadline, until)]);
    assert_eq!(due(early).await, [], "nobody else gets it");
    let clear = Write::ClearTimer { kind: TimerKind::RequestDeadline, subject: asked.id.to_string() };
    write(&store, vec![clear]).await;
    assert_eq!(due(late).await, [timer(TimerKind::GrantEnd, until)]);
    assert_eq!(due(until).await.len(), 1, "whoever took it died");
}

async fn write_system(store: &Store, write: SystemWrite) -> Result<(), CommitError> {
    store.commit(Commit::from(vec![write])).await
}
