use std::time::Duration;

use countersign_core::decide;
use countersign_core::demand::{Bounds, Demand};
use countersign_core::digest::{Digest, Salt};
use countersign_core::identity::PersonRef;
use countersign_core::ids::{AccountId, ChallengeId, GrantId, PersonId, ReleaseId, RequestId};
use countersign_core::names::{Factor, GroupName};
use countersign_core::operation::Operation;
use countersign_core::release::{ReleaseResult, ReportedBy};
use countersign_core::time::Micros;

use super::*;

const AT: Micros = Micros::from_secs(1_000_000_000);

fn person(n: u8, name: &str) -> PersonRef {
    PersonRef { id: PersonId::new(AT, [n; 10]), name: name.into() }
}

pub(crate) fn view() -> flow::View {
    let security = GroupName::new("local", "security").unwrap();
    let parameters = br#"{"argv":["rm","-rf","x"],"amount":9007199254740993,"$tag":1.5}"#;
    let request = Request {
        id: RequestId::new(AT, [1; 10]),
        version: 2,
        operation: Operation {
            door: "api".into(),
            action: "command.run".parse().unwrap(),
            target: "web-1".into(),
            parameters: Value::parse(parameters).unwrap(),
            context: Value::object([("raw", Value::Bytes(vec![255]))]),
        },
        sealed: None,
        account: AccountId::new(AT, [2; 10]),
        account_name: "alice".parse().unwrap(),
        person: Some(person(3, "alice")),
        reason: Some("OPS-1".into()),
        asked_at: AT,
        deadline: AT.plus(Duration::from_mins(30)),
        salt: Salt::from_bytes([9; 16]),
        digest: Digest::sha256(b"digest"),
        fingerprint: Digest::sha256(b"fingerprint"),
        policy: Digest::sha256(b"policy"),
        demands: vec![Demand::Quorum { k: 2, of: security.clone(), factors: vec![Factor::Totp] }],
        bounds: Bounds::DEFAULT,
        relayed: false,
        last_entry_at: AT,
        entries: 1,
        erased: false,
        stage: Stage::Challenged { challenges: Vec::new(), approvals: Vec::new() },
    };
    let mut slots = countersign_core::quorum::slots(&request.demands);
    slots[0].filled_by = Some(person(4, "bob"));
    flow::View {
        request,
        progress: decide::Progress { slots, confirm: Some(false) },
        needs: "needs 2 of local:security, not you; grants 5 min, once".into(),
        you: flow::You {
            may: vec![flow::May::Approve, flow::May::Deny],
            challenge: Some(ChallengeId::new(AT, [5; 10])),
        },
        can_approve: vec![(security, vec!["carol".into()])],
        releases: Vec::new(),
    }
}

fn granted(state: GrantState) -> flow::View {
    let mut view = view();
    let grant = CoreGrant {
        id: GrantId::new(AT, [6; 10]),
        granted_at: AT,
        not_before: AT,
        expires_at: AT.plus(Duration::from_mins(5)),
        uses: 1,
        state,
    };
    view.request.stage = Stage::Granted { approvals: Vec::new(), grant };
    view
}

#[test]
fn a_request_that_waits() {
    insta::assert_json_snapshot!("waiting", View::from(view()));
}

#[test]
fn what_is_nobody_s_business_is_not_on_the_wire() {
    let wire = serde_json::to_string(&View::from(view())).unwrap();
    for hidden in [Digest::sha256(b"fingerprint").to_string(), Salt::from_bytes([9; 16]).to_base64()] {
        assert!(!wire.contains(&hidden), "{wire}");
    }
}

#[test]
fn parameters_come_back_as_they_were_asked() {
    let wire = serde_json::to_vec(&View::from(view())).unwrap();
    let read = Value::parse(&wire).unwrap();
    for (name, asked) in
        [("parameters", view().request.operation.parameters), ("context", view().request.operation.context)]
    {
        assert_eq!(read.get(name).unwrap().clone().decode_canonical().unwrap(), asked, "{name}");
    }
}

#[test]
fn a_grant_and_its_releases() {
    let mut view = granted(GrantState::Revoked { by: person(4, "bob"), at: AT });
    let release = |n, state| CoreRelease {
        id: ReleaseId::new(AT, [n; 10]),
        request: view.request.id,
        version: 1,
        begun_at: AT,
        fingerprint: Digest::sha256(b"jwt"),
        state,
    };
    let result = ReleaseResult { outcome: "exit 0".into(), reported_by: ReportedBy::RequestersClient };
    view.releases = vec![
        release(1, ReleaseState::Intended { owner: "o".into(), lease_until: AT }),
        release(2, ReleaseState::Done { at: AT, result }),
        release(3, ReleaseState::InDoubt { owner: "o".into(), since: AT }),
        release(4, ReleaseState::Closed { by: person(7, "admin"), at: AT, reason: "looked at the host".into() }),
    ];
    let wire = View::from(view);
    insta::assert_json_snapshot!("granted", (wire.stage, &wire.grant, &wire.ended, &wire.releases));
}

#[test]
fn every_end_says_who_and_when() {
    let ends = [
        Stage::Refused { approvals: Vec::new(), by: person(4, "bob"), at: AT, why: Some("not today".into()) },
        Stage::Expired { approvals: Vec::new(), at: AT },
        Stage::Cancelled { approvals: Vec::new(), by: "alice".parse().unwrap(), at: AT },
    ];
    let wire: Vec<_> = ends
        .into_iter()
        .map(|stage| {
            let mut view = view();
            view.request.stage = stage;
            let wire = View::from(view);
            (wire.stage, wire.ended)
        })
        .collect();
    insta::assert_json_snapshot!("ends", wire);
    assert!(View::from(granted(GrantState::Live { uses_left: 1 })).ended.is_none());
    assert!(View::from(granted(GrantState::Spent)).ended.is_none());
}
