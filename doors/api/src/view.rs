//! A request, as the wire has it.

use countersign_core::canonical::Value;
use countersign_core::grant::{Grant as CoreGrant, GrantState};
use countersign_core::quorum::filled;
use countersign_core::release::{Release as CoreRelease, ReleaseState, ReportedBy};
use countersign_core::request::{Request, Stage};
use countersign_engine::flow;
use serde::Serialize;
use utoipa::ToSchema;

/// What one caller sees of a request.
#[derive(Serialize, ToSchema)]
pub(crate) struct View {
    id: String,
    /// Grows with every change.
    version: i64,
    /// `asked`, `challenged`, `granted`, `denied`, `expired` or `cancelled`.
    stage: &'static str,
    door: String,
    action: String,
    target: String,
    /// In canonical form: `{"$int":".."}`, `{"$dec":".."}` and `{"$bytes":"base64"}` are what JSON itself would lose, and a key of the user's own that
    /// starts with `$` has one more.
    #[schema(value_type = Object)]
    parameters: Value,
    #[schema(value_type = Object)]
    context: Value,
    reason: Option<String>,
    requester: Requester,
    #[schema(format = DateTime)]
    asked_at: String,
    #[schema(format = DateTime)]
    deadline: String,
    /// What an answer is given about: send it back with the code.
    digest: String,
    /// The digest of the policy that it was asked under.
    policy: String,
    /// In words: what it takes and what it gives.
    needs: String,
    progress: Progress,
    you: You,
    /// For each group that can still fill a place: who.
    can_approve: Vec<Able>,
    grant: Option<Grant>,
    ended: Option<Ended>,
    releases: Vec<Release>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Requester {
    account: String,
    person: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Progress {
    /// Whether the requester's own factor was proved; null where none is demanded.
    confirm: Option<bool>,
    slots: Vec<Slot>,
    summary: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Slot {
    group: String,
    filled_by: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct You {
    /// Of `confirm`, `approve`, `deny`, `cancel`, `revoke`, `release`.
    may: Vec<&'static str>,
    /// The challenge that an answer is for.
    challenge: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Able {
    group: String,
    people: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Grant {
    /// `live`, `spent`, `revoked` or `ended`.
    state: &'static str,
    uses_left: u32,
    #[schema(format = DateTime)]
    not_before: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

/// How the request, or the grant that it became, came to its end.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ended {
    by: Option<String>,
    #[schema(format = DateTime)]
    at: String,
    why: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Release {
    id: String,
    /// `intended`, `done`, `in_doubt`, `closed` or `failed`.
    state: &'static str,
    /// How it ended, for example `exit 0`; of a closed one, why it was closed.
    outcome: Option<String>,
    /// Whose word that is: `requesters_client`, `server`, or the administrator who closed it.
    reported_by: Option<String>,
    #[schema(format = DateTime)]
    begun_at: String,
    #[schema(format = DateTime)]
    ended_at: Option<String>,
}

impl From<flow::View> for View {
    fn from(view: flow::View) -> Self {
        let flow::View { request, progress, needs, you, can_approve, releases } = view;
        let grant = request.grant().map(Grant::from);
        let ended = ended(&request);
        Self {
            id: request.id.to_string(),
            version: request.version,
            stage: request.stage.name(),
            door: request.operation.door,
            action: request.operation.action.to_string(),
            target: request.operation.target,
            parameters: request.operation.parameters,
            context: request.operation.context,
            reason: request.reason,
            requester: Requester {
                account: request.account_name.to_string(),
                person: request.person.map(|person| person.name),
            },
            asked_at: request.asked_at.to_string(),
            deadline: request.deadline.to_string(),
            digest: request.digest.to_string(),
            policy: request.policy.to_string(),
            needs,
            progress: progress.into(),
            you: You {
                may: you.may.into_iter().map(flow::May::as_str).collect(),
                challenge: you.challenge.map(|challenge| challenge.to_string()),
            },
            can_approve: can_approve
                .into_iter()
                .map(|(group, people)| Able { group: group.to_string(), people })
                .collect(),
            grant,
            ended,
            releases: releases.into_iter().map(Release::from).collect(),
        }
    }
}

impl From<countersign_core::decide::Progress> for Progress {
    fn from(progress: countersign_core::decide::Progress) -> Self {
        let mut parts = Vec::new();
        if let Some(proved) = progress.confirm {
            parts.push(format!("own factor: {}", if proved { "proved" } else { "waiting" }));
        }
        for slot in &progress.slots {
            let who = slot.filled_by.as_ref().map_or("waiting", |person| person.name.as_str());
            parts.push(format!("{}: {who}", slot.group));
        }
        if progress.slots.len() > 1 {
            parts.push(format!("{} of {}", filled(&progress.slots), progress.slots.len()));
        }
        let slots = progress
            .slots
            .into_iter()
            .map(|slot| Slot { group: slot.group.to_string(), filled_by: slot.filled_by.map(|person| person.name) });
        Self { confirm: progress.confirm, slots: slots.collect(), summary: parts.join(" \u{b7} ") }
    }
}

impl From<&CoreGrant> for Grant {
    fn from(grant: &CoreGrant) -> Self {
        let (state, uses_left) = match grant.state {
            GrantState::Live { uses_left } => ("live", uses_left),
            GrantState::Spent => ("spent", 0),
            GrantState::Revoked { .. } => ("revoked", 0),
            GrantState::Ended { .. } => ("ended", 0),
        };
        Self { state, uses_left, not_before: grant.not_before.to_string(), expires_at: grant.expires_at.to_string() }
    }
}

impl From<CoreRelease> for Release {
    fn from(release: CoreRelease) -> Self {
        let (state, outcome, reported_by, ended_at) = match release.state {
            ReleaseState::Intended { .. } => ("intended", None, None, None),
            ReleaseState::InDoubt { .. } => ("in_doubt", None, None, None),
            ReleaseState::Done { at, result } => {
                ("done", Some(result.outcome), Some(result.reported_by.as_str().to_owned()), Some(at))
            }
            ReleaseState::Closed { by, at, reason } => ("closed", Some(reason), Some(by.name), Some(at)),
            ReleaseState::Failed { at, why } => {
                ("failed", Some(why), Some(ReportedBy::Server.as_str().to_owned()), Some(at))
            }
        };
        Self {
            id: release.id.to_string(),
            state,
            outcome,
            reported_by,
            begun_at: release.begun_at.to_string(),
            ended_at: ended_at.map(|at| at.to_string()),
        }
    }
}

fn ended(request: &Request) -> Option<Ended> {
    let (by, at, why) = match &request.stage {
        Stage::Asked | Stage::Challenged { .. } => return None,
        Stage::Granted { grant, .. } => match &grant.state {
            GrantState::Live { .. } | GrantState::Spent => return None,
            GrantState::Revoked { by, at } => (Some(by.name.clone()), at, None),
            GrantState::Ended { at } => (None, at, None),
        },
        Stage::Refused { by, at, why, .. } => (Some(by.name.clone()), at, why.clone()),
        Stage::Expired { at, .. } => (None, at, None),
        Stage::Cancelled { by, at, .. } => (Some(by.to_string()), at, None),
    };
    Some(Ended { by, at: at.to_string(), why })
}

#[cfg(test)]
pub(crate) mod tests;
