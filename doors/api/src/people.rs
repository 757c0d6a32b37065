//! `GET /people`, `GET /groups`: who there is, for administrators.

use axum::Json as Reply;
use axum::extract::State;
use countersign_core::names::Factor;
use countersign_engine::Engine;
use countersign_kit::{Caller, Problem, Routes};
use serde::Serialize;
use utoipa::ToSchema;

pub(crate) fn routes(routes: Routes<Engine>) -> Routes<Engine> {
    routes.get("/people", people).get("/groups", groups)
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
    members: Vec<String>,
}

/// Everybody.
#[utoipa::path(get, path = "/api/countersign/v1/people", tag = "administration", security(("bearer" = [])), responses(
    (status = 200, body = Vec<Person>),
    (status = 403, description = "not-permitted"),
))]
pub(crate) async fn people(
    State(engine): State<Engine>,
    Caller(principal): Caller,
) -> Result<Reply<Vec<Person>>, Problem> {
    let people = engine.people(&principal).await?.into_iter().map(|person| Person {
        name: person.name,
        active: person.active,
        groups: person.groups.iter().map(ToString::to_string).collect(),
        factors: person.factors.into_iter().map(Factor::as_str).collect(),
        accounts: person.accounts.iter().map(ToString::to_string).collect(),
    });
    Ok(Reply(people.collect()))
}

/// All groups with their members.
#[utoipa::path(get, path = "/api/countersign/v1/groups", tag = "administration", security(("bearer" = [])), responses(
    (status = 200, body = Vec<Group>),
    (status = 403, description = "not-permitted"),
))]
pub(crate) async fn groups(
    State(engine): State<Engine>,
    Caller(principal): Caller,
) -> Result<Reply<Vec<Group>>, Problem> {
    let groups = engine.groups(&principal).await?.into_iter();
    Ok(Reply(groups.map(|group| Group { group: group.group.to_string(), members: group.members }).collect()))
}
