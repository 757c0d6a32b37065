//! `group`.

use std::process::ExitCode;

use super::admin::{Change, change};
use super::output;
use super::session::Context;
use super::wire::GroupRow;
use crate::cli::GroupCommand;

pub(super) async fn group(context: &Context, command: GroupCommand) -> anyhow::Result<ExitCode> {
    let (what, admin) = match command {
        GroupCommand::List => return list(context).await,
        GroupCommand::Add { group, admin } => (Change::GroupAdd { group }, admin),
        GroupCommand::Remove { group, admin } => (Change::GroupRemove { group }, admin),
        GroupCommand::AddMember { group, person, admin } => (Change::MemberAdd { group, person }, admin),
        GroupCommand::RemoveMember { group, person, admin } => (Change::MemberRemove { group, person }, admin),
    };
    change(context, what, admin).await
}

async fn list(context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let groups: Vec<GroupRow> = client.get(&["groups"], &[]).await?;
    if context.json() {
        output::json(&groups)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = groups.into_iter().map(|group| vec![group.group, group.members.join(", ")]);
    output::table(&["GROUP", "MEMBERS"], rows.collect());
    Ok(ExitCode::SUCCESS)
}
