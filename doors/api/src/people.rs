//! `GET /people`, `GET /groups`, `GET /memberships`: who there is, for administrators.

use axum::Json as Reply;
use axum::extract::State;
use countersign_core::names::{Factor, GroupName};
use countersign_engine::Engine;
use countersign_engine::identity::{MembershipView, PersonView};
use countersign_kit::{Caller, Listed, Paging, PagingQuery, Problem, Routes};
use serde::Serialize;
use utoipa::ToSchema;

pub(crate) fn routes(routes: Routes<Engine>) -> Routes<Engine> {
    routes.get("/people", people).get("/groups", groups).get("/memberships", memberships)
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Person {
    name: String,
    active: bool,
    groups: Vec<String>,
    factors: Vec<&'static str>,
    accounts: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Group {
    group: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Membership {
    group: String,
    person: String,
    #[schema(format = DateTime)]
    since: String,
    /// Whether a second administrator agreed. Otherwise it fills no place before it has cooled.
    countersigned: bool,
}

/// Everybody, by name.
#[utoipa::path(get, path = "/api/countersign/v1/people", tag = "administration", security(("bearer" = [])),
    params(PagingQuery), responses(
    (status = 200, body = Listed<Person>),
    (status = 403, description = "not-permitted"),
))]
pub(crate) async fn people(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    paging: Paging,
) -> Result<Reply<Listed<Person>>, Problem> {
    Ok(Reply(paging.listed(engine.people(&principal, paging.after(), paging.limit).await?)))
}

/// All groups, by name.
#[utoipa::path(get, path = "/api/countersign/v1/groups", tag = "administration", security(("bearer" = [])),
    params(PagingQuery), responses(
    (status = 200, body = Listed<Group>),
    (status = 403, description = "not-permitted"),
))]
pub(crate) async fn groups(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    paging: Paging,
) -> Result<Reply<Listed<Group>>, Problem> {
    Ok(Reply(paging.listed(engine.groups(&principal, paging.after(), paging.limit).await?)))
}

/// Who is in which group: by group, and in a group in the order in which people were added to the service.
#[utoipa::path(get, path = "/api/countersign/v1/memberships", tag = "administration", security(("bearer" = [])),
    params(PagingQuery), responses(
    (status = 200, body = Listed<Membership>),
    (status = 403, description = "not-permitted"),
))]
pub(crate) async fn memberships(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    paging: Paging,
) -> Result<Reply<Listed<Membership>>, Problem> {
    Ok(Reply(paging.listed(engine.memberships(&principal, paging.after(), paging.limit).await?)))
}

impl From<PersonView> for Person {
    fn from(person: PersonView) -> Self {
        Self {
            name: person.name,
            active: person.active,
            groups: person.groups.iter().map(ToString::to_string).collect(),
            factors: person.factors.into_iter().map(Factor::as_str).collect(),
            accounts: person.accounts.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<GroupName> for Group {
    fn from(group: GroupName) -> Self {
        Self { group: group.to_string() }
    }
}

impl From<MembershipView> for Membership {
    fn from(membership: MembershipView) -> Self {
        Self {
            group: membership.group.to_string(),
            person: membership.person,
            since: membership.since.to_string(),
            countersigned: membership.countersigned,
        }
    }
}
