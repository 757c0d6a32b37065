//! What somebody sees of a request: what it is, how far it has come, who can move it, and what he can do himself.

use countersign_core::decide::{self, Progress, Role};
use countersign_core::ids::{ChallengeId, RequestId};
use countersign_core::names::GroupName;
use countersign_core::people::People;
use countersign_core::principal::Principal;
use countersign_core::release::Release;
use countersign_core::request::{Request, Stage};
use countersign_store::{
    InboxCursor, InboxFor, PeopleOf, PeopleRows, ReleasesOf, RequestWithPeople, RequestsOf, Whose,
};

use crate::page::{bad_cursor, bounded, one_more};
use crate::{Engine, EngineError, Page};

/// A request as one principal sees it.
#[derive(Clone, Debug)]
pub struct View {
    pub request: Request,
    pub progress: Progress,
    /// In words: what it takes, and what it gives.
    pub needs: String,
    pub you: You,
    /// For each group that can still fill a place: who.
    pub can_approve: Vec<(GroupName, Vec<String>)>,
    pub releases: Vec<Release>,
}

/// What the viewer himself can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct You {
    pub may: Vec<May>,
    /// The challenge that he would answer.
    pub challenge: Option<ChallengeId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    Confirm,
    Approve,
    Deny,
    Cancel,
    Revoke,
    Release,
}

impl May {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirm => "confirm",
            Self::Approve => "approve",
            Self::Deny => "deny",
            Self::Cancel => "cancel",
            Self::Revoke => "revoke",
            Self::Release => "release",
        }
    }
}

impl Engine {
    /// One request, if the principal may see it: his own, one that was put to a group of his, or any for an administrator.
    pub async fn show(&self, principal: &Principal, request: RequestId) -> Result<View, EngineError> {
        let also = principal.person.iter().map(|person| person.id).collect();
        let rows = self.inner.store.load(RequestWithPeople { request, also, members: true }).await?;
        let rows = rows.ok_or(EngineError::NotFound("request"))?;
        if !visible(principal, &rows.request, &rows.people) {
            return Err(EngineError::NotFound("request"));
        }
        let (people, _) = self.judge(&rows.people);
        let releases = self.inner.store.load(ReleasesOf(request)).await?;
        Ok(self.view(principal, rows.request, &people, releases))
    }

    /// The same after something was done to it. If the database goes away between the two, it was done all the same, so nobody is told that nothing was.
    pub(crate) async fn show_done(&self, principal: &Principal, request: RequestId) -> Result<View, EngineError> {
        self.show(principal, request).await.map_err(|error| match error {
            EngineError::DatabaseAway | EngineError::Busy | EngineError::DiskFull => EngineError::UnknownOutcome,
            other => other,
        })
    }

    /// What waits for the principal's answer, the most urgent first.
    pub async fn inbox(
        &self,
        principal: &Principal,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<View>, EngineError> {
        let Some(person) = &principal.person else { return Ok(Page::empty()) };
        let rows = self.inner.store.load(PeopleOf { persons: vec![person.id], groups: Vec::new() }).await?;
        let (people, _) = self.judge(&rows);
        let groups =
            people.get(person.id).map(|standing| standing.groups.iter().cloned().collect()).unwrap_or_default();
        let after = cursor.map(inbox_cursor).transpose()?;
        let limit = bounded(limit);
        let requests = self.inner.store.load(InboxFor { groups, after, limit: one_more(limit) }).await?;
        let Page { items: requests, next } =
            Page::cut(requests, limit, |last| format!("{}.{}", last.deadline.as_micros(), last.id));
        let mut items = Vec::new();
        for request in requests {
            // Somebody's own requests are in the inbox of his groups, but he can't answer them.
            let view = self.show(principal, request.id).await?;
            if view.you.may.contains(&May::Approve) {
                items.push(view);
            }
        }
        Ok(Page { items, next })
    }

    /// The principal's own requests, newest first.
    pub async fn mine(
        &self,
        principal: &Principal,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<View>, EngineError> {
        let whose =
            principal.person.as_ref().map_or(Whose::Account(principal.account), |person| Whose::Person(person.id));
        let before = cursor.map(|text| text.parse::<RequestId>().map_err(|_| bad_cursor())).transpose()?;
        let limit = bounded(limit);
        let requests = self.inner.store.load(RequestsOf { whose, before, limit: one_more(limit) }).await?;
        let Page { items: requests, next } = Page::cut(requests, limit, |last| last.id.to_string());
        let mut items = Vec::new();
        for request in requests {
            items.push(self.show(principal, request.id).await?);
        }
        Ok(Page { items, next })
    }

    pub(super) fn view(
        &self,
        principal: &Principal,
        request: Request,
        people: &People,
        releases: Vec<Release>,
    ) -> View {
        let progress = decide::progress(&request, people);
        let you = self.you(principal, &request, people);
        let mut open: Vec<&GroupName> =
            progress.slots.iter().filter(|slot| slot.filled_by.is_none()).map(|slot| &slot.group).collect();
        open.sort();
        open.dedup();
        let waiting = request.is_pending();
        let can_approve =
            open.into_iter().filter(|_| waiting).map(|group| (group.clone(), able(&request, people, group))).collect();
        let needs = countersign_policy::needs_in_words(&request.demands, &request.bounds);
        View { request, progress, needs, you, can_approve, releases }
    }

    fn you(&self, principal: &Principal, request: &Request, people: &People) -> You {
        let now = self.now();
        let mut you = You::default();
        let person = principal.answers_in_person();
        let own = request.account == principal.account
            || matches!((&request.person, &principal.person), (Some(asked), Some(me)) if asked.id == me.id);
        let eligible =
            person.is_some_and(|person| concerned(request).iter().any(|group| people.may_fill(person.id, group)));
        if request.is_pending() && now < request.deadline {
            if let Some(person) = person
                && let Ok(role) = decide::may_answer(request, person, people, now)
            {
                you.may.push(if role == Role::Confirm { May::Confirm } else { May::Approve });
                you.challenge = request.challenge_for(role);
            }
            if own {
                you.may.push(May::Cancel);
            } else if eligible {
                you.may.push(May::Deny);
            }
        }
        if let Stage::Granted { grant, .. } = &request.stage {
            if own && grant.is_live() && now < grant.expires_at {
                you.may.push(May::Release);
            }
            let administrator = person.is_some_and(|person| people.may_fill(person.id, &GroupName::administrators()));
            if grant.is_revocable() && person.is_some() && (own || eligible || administrator) {
                you.may.push(May::Revoke);
            }
        }
        you
    }
}

/// Whether the principal may see the request at all.
pub(crate) fn visible(principal: &Principal, request: &Request, rows: &PeopleRows) -> bool {
    if request.account == principal.account {
        return true;
    }
    let Some(person) = &principal.person else { return false };
    if request.person.as_ref().is_some_and(|requester| requester.id == person.id)
        || request.approvals().iter().any(|approval| approval.evidence.person.id == person.id)
    {
        return true;
    }
    // Memberships as they are, also while they cool: seeing is not answering.
    let groups = concerned(request);
    rows.memberships.iter().any(|membership| {
        membership.person == person.id
            && (groups.contains(&&membership.group) || membership.group == GroupName::administrators())
    })
}

/// The groups that a request was put to.
fn concerned(request: &Request) -> Vec<&GroupName> {
    request
        .demands
        .iter()
        .filter_map(|demand| match demand {
            countersign_core::demand::Demand::Quorum { of, .. } => Some(of),
            _ => None,
        })
        .collect()
}

/// Who of a group could still answer.
fn able(request: &Request, people: &People, group: &GroupName) -> Vec<String> {
    let answered = |id| request.approvals().iter().any(|approval| approval.evidence.person.id == id);
    let requester = request.person.as_ref().map(|person| person.id);
    people
        .iter()
        .filter(|standing| people.may_fill(standing.person.id, group) && !standing.factors.is_empty())
        .filter(|standing| requester != Some(standing.person.id) && !answered(standing.person.id))
        .map(|standing| standing.person.name.clone())
        .collect()
}

fn inbox_cursor(text: &str) -> Result<InboxCursor, EngineError> {
    let (deadline, request) = text.split_once('.').ok_or_else(bad_cursor)?;
    let deadline = deadline.parse().map(countersign_core::time::Micros::from_micros).map_err(|_| bad_cursor())?;
    let request = request.parse().map_err(|_| bad_cursor())?;
    Ok(InboxCursor { deadline, request })
}
