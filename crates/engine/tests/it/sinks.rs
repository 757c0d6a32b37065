//! Sinks that refuse, hang and come back: nothing is let go without a required one, and each gets the whole log.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign_core::canonical::Value;
use countersign_core::grant::GrantState;
use countersign_core::ids::RequestId;
use countersign_core::principal::Principal;
use countersign_core::release::ReleaseState;
use countersign_engine::flow::Released;
use countersign_engine::identity::Change;
use countersign_engine::sinks::{Accepting, Attached, Mode, Record, Sink, SinkError};
use countersign_engine::testing::{self, PASSWORD, ask, command};
use countersign_engine::{Engine, EngineError};
use countersign_store::{EntriesOf, EntryRange, LogState, RequestById, StoredEntry};
use serde_json::{Value as Json, json};
use tokio_util::sync::CancellationToken;

use crate::support::Place;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Takes,
    Refuses,
    Hangs,
    /// It has the records, and its answer is lost.
    Mumbles,
}

#[derive(Debug)]
struct Memory {
    name: String,
    mood: Mutex<Mood>,
    taken: Mutex<Vec<Record>>,
}

impl Memory {
    fn new(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.to_owned(), mood: Mutex::new(Mood::Takes), taken: Mutex::default() })
    }

    fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn lines(&self) -> Vec<Json> {
        self.taken.lock().unwrap().iter().map(|record| serde_json::from_str(record.line()).unwrap()).collect()
    }

    /// Records of a type.
    fn of(&self, kind: &str) -> Vec<Json> {
        self.lines().into_iter().filter(|line| line["type"] == kind).collect()
    }

    /// The places in the log, in the order in which they came.
    fn leaves(&self) -> Vec<u64> {
        self.lines().iter().filter_map(|line| line["leaf"].as_u64()).collect()
    }

    fn text(&self) -> String {
        self.taken.lock().unwrap().iter().map(Record::line).collect()
    }
}

impl Sink for Memory {
    fn name(&self) -> &str {
        &self.name
    }

    fn accept<'a>(&'a self, records: &'a [Record]) -> Accepting<'a> {
        Box::pin(async move {
            let mood = *self.mood.lock().unwrap();
            if matches!(mood, Mood::Takes | Mood::Mumbles) {
                self.taken.lock().unwrap().extend_from_slice(records);
            }
            match mood {
                Mood::Takes => Ok(()),
                Mood::Refuses | Mood::Mumbles => Err(SinkError::Refused("the disk is full".into())),
                Mood::Hangs => std::future::pending().await,
            }
        })
    }
}

async fn engine(place: &Place, seed: u64, sinks: &[(&Arc<Memory>, Mode)]) -> Engine {
    let sinks =
        sinks.iter().map(|(sink, mode)| Attached { sink: Arc::clone(sink) as Arc<dyn Sink>, mode: *mode }).collect();
    let (store, clock) = (place.engine().store().clone(), Arc::clone(&place.world.clock));
    testing::start_with(store, clock, seed, sinks).await.unwrap()
}

/// A world whose engine has these sinks.
async fn place(sinks: &[(&Arc<Memory>, Mode)]) -> Place {
    let mut place = Place::usual().await;
    place.world.engine = engine(&place, 50, sinks).await;
    place
}

/// A sink that failed is left alone for a moment; after that the release must work.
async fn released_in_the_end(place: &Place, alice: &Principal, request: RequestId) -> Released {
    for _ in 0..200 {
        match place.engine().release(alice, request).await {
            Ok(released) => return released,
            Err(EngineError::SinkRefused { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the sink takes records, and nothing is released")
}

async fn kinds(place: &Place, request: RequestId) -> Vec<String> {
    let rows = place.engine().store().load(EntriesOf(request)).await.unwrap();
    rows.iter().map(kind).collect()
}

fn kind(row: &StoredEntry) -> String {
    let entry: Json = serde_json::from_slice(&row.bytes).unwrap();
    entry["type"].as_str().unwrap().to_owned()
}

fn refused_by(outcome: Result<impl std::fmt::Debug, EngineError>, name: &str) {
    match outcome {
        Err(EngineError::SinkRefused { sink }) => assert_eq!(sink, name),
        other => panic!("{other:?}"),
    }
}

async fn uses_left(place: &Place, request: RequestId) -> Option<u32> {
    let request = place.engine().store().load(RequestById(request)).await.unwrap().unwrap();
    match request.grant().map(|grant| grant.state.clone()) {
        Some(GrantState::Live { uses_left }) => Some(uses_left),
        _ => None,
    }
}

async fn nothing_goes_without(mood: Mood) {
    let (audit, other) = (Memory::new("audit"), Memory::new("other"));
    let place = place(&[(&other, Mode::Required), (&audit, Mode::Required)]).await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let id = place.granted(&alice, &bob).await.request.id;
    audit.be(mood);
    refused_by(place.engine().release(&alice, id).await, "audit");
    assert_eq!(uses_left(&place, id).await, Some(1), "the use is given back");
    let view = place.engine().show(&alice, id).await.unwrap();
    assert!(matches!(&view.releases[0].state, ReleaseState::Failed { why, .. } if why.contains("audit")));
    let told = ["request.asked", "request.answered", "request.granted", "release.intended", "release.failed"];
    assert_eq!(kinds(&place, id).await, told);

    // It failed just now, so a client that hurries is told at once, and fills no ledger.
    refused_by(place.engine().release(&alice, id).await, "audit");
    assert_eq!(kinds(&place, id).await.len(), told.len());

    audit.be(Mood::Takes);
    let released = released_in_the_end(&place, &alice, id).await;
    let again = place.engine().release(&alice, id).await;
    assert!(matches!(again, Err(EngineError::Conflict { stage: Some("spent"), .. })), "{again:?}");
    place.engine().report(&alice, released.release, "exit 0").await.unwrap();
    for sink in [&audit, &other] {
        let intents = sink.of("release.intended");
        let last = intents.last().unwrap();
        assert_eq!(last["fields"], json!({"release": released.release.to_string(), "by": "local:alice"}));
        assert_eq!((&last["leaf"], &last["request"]), (&Json::Null, &json!(id.to_string())));
    }
    // The receipt tells of both.
    place.engine().sequence().await.unwrap();
    let receipt = place.engine().receipt(&alice, id, Duration::ZERO).await.unwrap();
    let receipt = countersign_ledger::Receipt::from_json(receipt.as_bytes()).unwrap();
    let verified = receipt.verify(None, Some(id)).unwrap();
    let kinds: Vec<_> = verified.entries.iter().map(|entry| entry.entry.kind.as_str()).collect();
    assert_eq!(kinds[3..], ["release.intended", "release.failed", "release.intended", "release.done"]);
}

#[tokio::test]
async fn a_required_sink_that_refuses_stops_the_release_and_the_use_is_given_back() {
    nothing_goes_without(Mood::Refuses).await;
}

#[tokio::test]
async fn a_required_sink_that_hangs_stops_the_release_and_the_use_is_given_back() {
    nothing_goes_without(Mood::Hangs).await;
}

/// The record arrived and its acknowledgement did not: what is not known to be there is not there.
#[tokio::test]
async fn a_required_sink_whose_answer_is_lost_stops_the_release() {
    nothing_goes_without(Mood::Mumbles).await;
}

#[tokio::test]
async fn what_is_complete_when_it_is_let_go_is_recorded_before_it_is_committed() {
    let audit = Memory::new("audit");
    let place = place(&[(&audit, Mode::Required)]).await;
    let alice = place.login("alice").await;
    let view = place.engine().ask(&alice, &ask("report.read", "sales", Value::Null, None)).await.unwrap().into_view();
    let id = view.request.id;
    audit.be(Mood::Refuses);
    refused_by(place.engine().release(&alice, id).await, "audit");
    assert_eq!(place.engine().show(&alice, id).await.unwrap().releases, []);
    assert_eq!(kinds(&place, id).await, ["request.asked", "request.granted", "release.refused"]);
    assert!(uses_left(&place, id).await.is_some());
    audit.be(Mood::Takes);
    released_in_the_end(&place, &alice, id).await;
    assert_eq!(kinds(&place, id).await.last().unwrap(), "release.done");
    assert_eq!(audit.of("release.done").len(), 1);
}

#[tokio::test]
async fn a_use_given_back_late_still_ends_and_a_revoked_one_stays_revoked() {
    let audit = Memory::new("audit");
    let place = place(&[(&audit, Mode::Required)]).await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let (late, taken) = (place.granted(&alice, &bob).await.request.id, {
        place.next_code();
        let view = place.engine().ask(&alice, &command(&["ls"], None)).await.unwrap().into_view();
        place.world.answer(&bob, &view).await.unwrap().request.id
    });
    place.engine().sequence().await.unwrap();
    audit.be(Mood::Hangs);
    let (engine, clock) = (place.engine().clone(), Arc::clone(&place.world.clock));
    let meanwhile = async {
        // Both intents wait for the sink.
        let begun = async |id| place.engine().show(&alice, id).await.unwrap().releases.len() == 1;
        while !(begun(late).await && begun(taken).await) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        engine.revoke(&alice, taken).await.unwrap();
        clock.advance(Duration::from_hours(1));
        engine.fire_due().await.unwrap();
    };
    let (one, two, ()) = tokio::join!(engine.release(&alice, late), engine.release(&alice, taken), meanwhile);
    refused_by(one, "audit");
    refused_by(two, "audit");
    assert_eq!(uses_left(&place, late).await, Some(1));
    place.engine().fire_due().await.unwrap();
    let ended = place.engine().store().load(RequestById(late)).await.unwrap().unwrap();
    assert!(matches!(ended.grant().unwrap().state, GrantState::Ended { .. }), "{ended:?}");
    let revoked = place.engine().store().load(RequestById(taken)).await.unwrap().unwrap();
    assert!(matches!(revoked.grant().unwrap().state, GrantState::Revoked { .. }), "{revoked:?}");
}

#[tokio::test]
async fn a_sink_that_hangs_holds_up_nobody_else() {
    let audit = Memory::new("audit");
    let place = place(&[(&audit, Mode::Required)]).await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let id = place.granted(&alice, &bob).await.request.id;
    audit.be(Mood::Hangs);
    let order = Mutex::new(Vec::new());
    let release = async {
        refused_by(place.engine().release(&alice, id).await, "audit");
        order.lock().unwrap().push("refused");
    };
    let everything_else = async {
        place.next_code();
        // Who says no must be able to log in for it.
        let carol = place.login("carol").await;
        for word in ["a", "b", "c"] {
            let asked = place.engine().ask(&alice, &command(&[word], None)).await.unwrap().into_view().request.id;
            place.engine().deny(&carol, asked, Some("not now")).await.unwrap();
        }
        place.engine().sequence().await.unwrap();
        place.engine().revoke(&bob, id).await.unwrap();
        order.lock().unwrap().push("denied and revoked");
    };
    tokio::join!(release, everything_else);
    assert_eq!(order.into_inner().unwrap(), ["denied and revoked", "refused"]);
}

#[tokio::test]
async fn a_change_is_applied_only_with_its_record_which_holds_no_secret() {
    let audit = Memory::new("audit");
    let place = place(&[(&audit, Mode::Required)]).await;
    let admin = place.login("admin").await;
    let add = |name: &str| Change::PersonAdd { name: name.to_owned(), groups: Vec::new() };
    audit.be(Mood::Refuses);
    refused_by(place.change(&admin, add("erin"), Some("a password of erin")).await, "audit");
    let stranger = place.engine().login("erin", "a password of erin".into(), None, "127.0.0.1").await;
    assert!(matches!(stranger, Err(EngineError::LoginRefused)));
    audit.be(Mood::Takes);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    place.change(&admin, add("frank"), Some("a password of frank")).await.unwrap();
    place.engine().login("frank", "a password of frank".into(), None, "127.0.0.1").await.unwrap();
    let applied = audit.of("admin.applied");
    assert_eq!(applied.len(), 1);
    assert_eq!(applied[0]["fields"]["change"], "admin.person.add");

    place.engine().sequence().await.unwrap();
    place.engine().deliver_to("audit").await.unwrap();
    let text = audit.text();
    assert!(text.contains("frank"));
    let code = place.world.code("admin");
    for secret in ["a password of", "$argon2", PASSWORD, secrecy::ExposeSecret::expose_secret(&code)] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_token_goes_out_only_with_its_record() {
    let audit = Memory::new("audit");
    let place = place(&[(&audit, Mode::Required)]).await;
    let login =
        place.engine().login("alice", PASSWORD.into(), Some(place.world.code("alice")), "127.0.0.1").await.unwrap();
    let alice = place.engine().authenticate(&login.token, "127.0.0.1").await.unwrap();
    audit.be(Mood::Hangs);
    let make = async |name: &str| {
        place.engine().create_token(&alice, name, vec!["command.run".to_owned()], Duration::from_hours(1)).await
    };
    refused_by(make("one").await, "audit");
    assert_eq!(place.engine().tokens(&alice, None, 10).await.unwrap().items.len(), 0);
    audit.be(Mood::Takes);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let token = make("two").await.unwrap();
    assert_eq!(audit.of("token.created")[0]["fields"]["token"], token.id.to_string());
    place.engine().sequence().await.unwrap();
    place.engine().deliver_to("audit").await.unwrap();
    for secret in [&token.token, &login.token] {
        assert!(!audit.text().contains(secrecy::ExposeSecret::expose_secret(secret)));
    }
}

/// All leaves of the log, as sinks should have them.
async fn log_size(place: &Place) -> u64 {
    place.engine().sequence().await.unwrap();
    place.engine().store().load(LogState(1)).await.unwrap().unwrap().size
}

#[tokio::test]
async fn a_best_effort_sink_holds_up_nobody_and_catches_up_in_order() {
    let audit = Memory::new("audit");
    let place = place(&[(&audit, Mode::BestEffort)]).await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    audit.be(Mood::Refuses);
    let id = place.granted(&alice, &bob).await.request.id;
    place.engine().release(&alice, id).await.unwrap();
    let size = log_size(&place).await;
    refused_by(place.engine().deliver_to("audit").await, "audit");
    let status = place.engine().sink_status().await.unwrap();
    assert_eq!((status[0].name.as_str(), status[0].failing, status[0].behind), ("audit", true, size));
    // Taken, and not acknowledged: it comes again.
    audit.be(Mood::Mumbles);
    refused_by(place.engine().deliver_to("audit").await, "audit");
    audit.be(Mood::Takes);
    place.engine().deliver_to("audit").await.unwrap();
    let status = place.engine().sink_status().await.unwrap();
    assert_eq!((status[0].failing, status[0].behind), (false, 0));
    let leaves = audit.leaves();
    let first = usize::try_from(size.min(64)).unwrap();
    assert_eq!(leaves[first..], (0..size).collect::<Vec<_>>(), "from the beginning, in order");
    let ids: BTreeSet<_> = audit.lines().iter().map(|line| line["id"].to_string()).collect();
    assert_eq!(u64::try_from(ids.len()).unwrap(), size, "what came twice has the same id");
    // It is the log: each record has the id and the type of the leaf that it names.
    let stored = place.engine().store().load(EntryRange { epoch: 1, from: 0, to: size }).await.unwrap();
    for (line, bytes) in audit.lines()[first..].iter().zip(&stored) {
        let leaf: Json = serde_json::from_slice(bytes).unwrap();
        for member in ["id", "type", "request", "policy", "clear", "epoch"] {
            assert_eq!(line[member], leaf[member]);
        }
    }
}

#[tokio::test]
async fn a_start_goes_on_where_the_last_one_stopped_and_two_nodes_bring_each_entry_once() {
    let audit = Memory::new("audit");
    let mut place = place(&[(&audit, Mode::BestEffort)]).await;
    let alice = place.login("alice").await;
    log_size(&place).await;
    place.engine().deliver_to("audit").await.unwrap();
    let before = audit.leaves().len();
    place.world.engine = engine(&place, 51, &[(&audit, Mode::BestEffort)]).await;
    let second = engine(&place, 52, &[(&audit, Mode::BestEffort)]).await;
    for number in 0..200 {
        let word = number.to_string();
        place.engine().ask(&alice, &command(&[&word], None)).await.unwrap();
    }
    let size = log_size(&place).await;
    // The node before holds the lease until it ends.
    place.engine().deliver_to("audit").await.unwrap();
    assert_eq!(audit.leaves().len(), before);
    place.world.clock.advance(Duration::from_mins(1));
    let (one, two) = tokio::join!(place.engine().deliver_to("audit"), second.deliver_to("audit"));
    one.unwrap();
    two.unwrap();
    assert_eq!(audit.leaves(), (0..size).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_follower_brings_everything_before_it_stops() {
    let (good, bad) = (Memory::new("good"), Memory::new("bad"));
    let place = place(&[(&bad, Mode::BestEffort), (&good, Mode::Required)]).await;
    bad.be(Mood::Hangs);
    let stop = CancellationToken::new();
    let work = async {
        let (alice, bob) = (place.login("alice").await, place.login("bob").await);
        let id = place.granted(&alice, &bob).await.request.id;
        place.engine().release(&alice, id).await.unwrap();
        let size = log_size(&place).await;
        stop.cancel();
        size
    };
    let ((), size) = tokio::join!(place.engine().run_sinks(stop.clone()), work);
    assert_eq!(good.leaves(), (0..size).collect::<Vec<_>>());
    assert_eq!(bad.lines().len(), 0);
    let status = place.engine().sink_status().await.unwrap();
    assert_eq!((status[0].behind, status[1].behind), (size, 0));
}
