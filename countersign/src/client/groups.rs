//! `group`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::Serialize;

use super::admin::{Change, change};
use super::output;
use super::session::Context;
use super::wire::{GroupRow, MembershipRow};
use crate::cli::{GroupCommand, ListArgs};

pub(super) async fn group(context: &Context, command: GroupCommand) -> anyhow::Result<ExitCode> {
    let (what, admin) = match command {
        GroupCommand::List(args) => return list(context, &args).await,
        GroupCommand::Add { group, admin } => (Change::GroupAdd { group }, admin),
        GroupCommand::Remove { group, admin } => (Change::GroupRemove { group }, admin),
        GroupCommand::AddMember { group, person, admin } => (Change::MemberAdd { group, person }, admin),
        GroupCommand::RemoveMember { group, person, admin } => (Change::MemberRemove { group, person }, admin),
    };
    change(context, what, admin).await
}

/// A group with its members, who come as a list of their own.
#[derive(Debug, Serialize)]
struct Group {
    group: String,
    members: Vec<String>,
}

async fn list(context: &Context, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let groups = client.list::<GroupRow>("groups", args).await?;
    let all = ListArgs { limit: None };
    let memberships = client.list::<MembershipRow>("memberships", &all).await?;
    groups.tell(args);
    memberships.tell(&all);
    let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for membership in memberships.items {
        members.entry(membership.group).or_default().push(membership.person);
    }
    let groups: Vec<Group> = groups.items.into_iter().map(|row| with(row, &mut members)).collect();
    if context.json() {
        output::json(&groups)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = groups.into_iter().map(|group| vec![group.group, group.members.join(", ")]);
    output::table(&["GROUP", "MEMBERS"], rows.collect());
    Ok(ExitCode::SUCCESS)
}

fn with(row: GroupRow, members: &mut BTreeMap<String, Vec<String>>) -> Group {
    let mut members = members.remove(&row.group).unwrap_or_default();
    members.sort();
    Group { group: row.group, members }
}
