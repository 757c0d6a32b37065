//! The questions that span tables, and all others under one name.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::identity::{Authenticator, Membership, Person};
use countersign_core::ids::{PersonId, RequestId};
use countersign_core::names::GroupName;
use countersign_core::quorum;
use countersign_core::request::Request;
use countersign_core::throttle::{Throttle, ThrottleKey};
use countersign_core::time::Micros;

use crate::error::StoreError;
use crate::reader::Reader;
use crate::tables::load;
use crate::tables::{authenticators, groups, persons, requests, throttles};

pub use crate::tables::accounts::{AccountById, AccountByName, AccountRow, AccountsOf};
pub use crate::tables::authenticators::{AuthenticatorById, AuthenticatorsOf};
pub use crate::tables::changes::{ChangesSince, LastChange};
pub use crate::tables::directory::{GroupsPage, MembershipsPage, PeoplePage, PeoplePageRows};
pub use crate::tables::entries::{
    EntriesOf, EntryAt, EntryById, EntryRange, OldestUnsequenced, PendingEntry, StoredEntry, UnsequencedEntries,
};
pub use crate::tables::erasures::{
    AnyOpenRequest, ClosedRequests, Concerned, EntriesNaming, Erase, ErasureOf, ErasureRow, IsNameTaken,
};
pub use crate::tables::evidence::EvidenceOf;
pub use crate::tables::groups::{Administrators, GroupRow, ListGroups, MembersOf};
pub use crate::tables::idempotency::{IdempotencyFor, IdempotencyRow};
pub use crate::tables::inbox::{InboxCursor, InboxFor};
pub use crate::tables::keys::{DataKeys, SigningKeys};
pub use crate::tables::leases::{LeaseOf, LeaseRow};
pub use crate::tables::log::{Checkpoints, CurrentEpoch, Epochs, LatestCheckpoint, LogStanding, LogState, Tiles};
pub use crate::tables::meta::MetaGet;
pub use crate::tables::outbox::NextOutbox;
pub use crate::tables::persons::{PersonById, PersonByName};
pub use crate::tables::policies::{ActivePolicy, PolicyByDigest, PolicyRow};
pub use crate::tables::releases::{IntendedReleases, ReleaseById, ReleaseWithRequest, ReleasesOf};
pub use crate::tables::requests::{
    OpenRequests, RequestById, RequestVersions, RequestsByFingerprint, RequestsOf, Whose,
};
pub use crate::tables::sessions::{CountSessions, LiveSessions, SessionByHash, SessionById, SessionRow, SessionsOf};
pub use crate::tables::sinks::{EntriesAhead, EntriesLeftBehind, SinkPosition};
pub use crate::tables::throttles::ThrottleFor;
pub use crate::tables::timers::NextTimer;
pub use crate::tables::tokens::{CountTokens, LiveTokens, TokenByHash, TokenById, TokenRow, TokensPage};

/// What `core::people::People::judge` judges by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeopleRows {
    pub persons: Vec<Person>,
    pub memberships: Vec<Membership>,
    /// Active ones only.
    pub authenticators: Vec<Authenticator>,
    /// How many active people administer.
    pub administrators: usize,
}

/// The members of `groups` with their memberships in these groups, and `persons` with all of their memberships. Nobody comes twice; whoever does not
/// exist does not come.
#[derive(Clone, Debug)]
pub struct PeopleOf {
    pub persons: Vec<PersonId>,
    pub groups: Vec<GroupName>,
}

/// A request and everybody who matters to it: who asked, who answered, and `also`, each with all memberships.
#[derive(Clone, Debug)]
pub struct RequestWithPeople {
    pub request: RequestId,
    pub also: Vec<PersonId>,
    /// Whether everybody of the groups that a pending request names comes too, to show who could answer. A decision needs nobody but those who take
    /// part, so its cost does not grow with the size of a group.
    pub members: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RequestWithPeopleRows {
    pub request: Request,
    pub people: PeopleRows,
}

/// All that an answer of `person` to `request` from `source` is decided by.
#[derive(Clone, Debug)]
pub struct RequestForAnswer {
    pub request: RequestId,
    pub person: PersonId,
    pub source: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AnswerRows {
    pub request: Request,
    pub people: PeopleRows,
    /// The answering person's active ones.
    pub authenticators: Vec<Authenticator>,
    /// The counter of each of them, in the same order; its subject is `totp:<authenticator>`.
    pub throttles: Vec<Throttle>,
}

/// Everything that opens a door now, for the map that validates without SQL.
#[derive(Clone, Copy, Debug)]
pub struct LiveCredentials {
    pub now: Micros,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveRows {
    pub sessions: Vec<SessionRow>,
    pub tokens: Vec<TokenRow>,
}

load!(PeopleOf => PeopleRows, |Self { persons, groups }, reader| {
    people(reader, persons.into_iter().collect(), groups.into_iter().collect()).await
});

load!(RequestWithPeople => Option<RequestWithPeopleRows>, |Self { request, also, members }, reader| {
    let Some(request) = requests::find(reader, request).await? else {
        return Ok(None);
    };
    let groups = if members && request.is_pending() {
        quorum::slots(&request.demands).into_iter().map(|slot| slot.group).collect()
    } else {
        BTreeSet::new()
    };
    let people = people_around(reader, &request, also, groups).await?;
    Ok(Some(RequestWithPeopleRows { request, people }))
});

load!(RequestForAnswer => Option<AnswerRows>, |Self { request, person, source }, reader| {
    let Some(request) = requests::find(reader, request).await? else {
        return Ok(None);
    };
    let people = people_around(reader, &request, vec![person], BTreeSet::new()).await?;
    let own: Vec<_> = people.authenticators.iter().filter(|own| own.person == person).cloned().collect();
    let mut counters = Vec::with_capacity(own.len());
    for authenticator in &own {
        let key = ThrottleKey { subject: format!("totp:{}", authenticator.id), source: source.clone() };
        counters.push(throttles::find(reader, key).await?);
    }
    Ok(Some(AnswerRows { request, people, authenticators: own, throttles: counters }))
});

load!(heavy LiveCredentials => LiveRows, |Self { now }, reader| {
    let sessions = LiveSessions { now, after: None, limit: u32::MAX }.load(reader).await?;
    let tokens = LiveTokens { now, after: None, limit: u32::MAX }.load(reader).await?;
    Ok(LiveRows { sessions, tokens })
});

async fn people_around(
    reader: &mut Reader<'_>,
    request: &Request,
    also: Vec<PersonId>,
    groups: BTreeSet<GroupName>,
) -> Result<PeopleRows, StoreError> {
    let mut named: BTreeSet<_> = also.into_iter().collect();
    named.extend(request.person.as_ref().map(|person| person.id));
    named.extend(request.approvals().iter().map(|approval| approval.evidence.person.id));
    people(reader, named, groups).await
}

async fn people(
    reader: &mut Reader<'_>,
    named: BTreeSet<PersonId>,
    wanted: BTreeSet<GroupName>,
) -> Result<PeopleRows, StoreError> {
    let mut everybody = BTreeMap::new();
    let mut memberships = BTreeMap::new();
    let mut proofs = BTreeMap::new();
    for group in &wanted {
        for (person, membership) in groups::members(reader, group).await? {
            memberships.insert((membership.person, membership.group.clone()), membership);
            everybody.insert(person.id, person);
        }
        for authenticator in authenticators::active_of_group(reader, group).await? {
            proofs.insert(authenticator.id, authenticator);
        }
    }
    for id in named {
        let Some(person) = persons::find(reader, id).await? else {
            continue;
        };
        for membership in groups::memberships_of(reader, id).await? {
            memberships.insert((id, membership.group.clone()), membership);
        }
        for authenticator in authenticators::active_of(reader, id).await? {
            proofs.insert(authenticator.id, authenticator);
        }
        everybody.insert(id, person);
    }
    Ok(PeopleRows {
        persons: everybody.into_values().collect(),
        memberships: memberships.into_values().collect(),
        authenticators: proofs.into_values().collect(),
        administrators: groups::administrators(reader).await?,
    })
}
