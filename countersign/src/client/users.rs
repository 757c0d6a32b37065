//! `user`, `service`, `link` and `release`.

use std::process::ExitCode;

use super::admin::{Change, change};
use super::session::Context;
use super::wire::PersonRow;
use super::{output, prompt, words};
use crate::cli::{LinkArgs, ListArgs, ReleaseCommand, ServiceCommand, UserCommand};
use crate::exit::Failure;

pub(super) async fn user(context: &Context, command: UserCommand) -> anyhow::Result<ExitCode> {
    let (what, admin) = match command {
        UserCommand::List(args) => return list(context, &args).await,
        UserCommand::Add { name, groups, password_stdin, admin } => {
            let password = prompt::new_password(prompt::From::stdin(password_stdin), &words::visible(&name))?;
            (Change::PersonAdd { name, password, groups }, admin)
        }
        UserCommand::Passwd { name, password_stdin, admin } => {
            let password = prompt::new_password(prompt::From::stdin(password_stdin), &words::visible(&name))?;
            (Change::PasswordSet { name, password }, admin)
        }
        UserCommand::Disable { name, admin } => (Change::PersonDisable { name }, admin),
        UserCommand::Enable { name, admin } => (Change::PersonEnable { name }, admin),
        UserCommand::Remove { name, admin } => (Change::PersonRemove { name }, admin),
        UserCommand::Erase { name, admin } => (Change::PersonErase { name }, admin),
        UserCommand::ResetFactor { name, admin } => (Change::FactorReset { name }, admin),
        UserCommand::Unlock { name, admin } => (Change::ThrottleClear { name }, admin),
    };
    change(context, what, admin).await
}

pub(super) async fn service(context: &Context, command: ServiceCommand) -> anyhow::Result<ExitCode> {
    let ServiceCommand::Add { name, admin } = command;
    change(context, Change::ServiceAdd { name }, admin).await
}

pub(super) async fn link(context: &Context, args: LinkArgs) -> anyhow::Result<ExitCode> {
    change(context, Change::AccountLink { account: args.account, person: args.person }, args.admin).await
}

pub(super) async fn release(context: &Context, command: ReleaseCommand) -> anyhow::Result<ExitCode> {
    let ReleaseCommand::Close { id, admin } = command;
    let Some(reason) = admin.reason.clone() else {
        return Err(Failure::new("how did it end?").hint("say what you found with --reason").into());
    };
    change(context, Change::ReleaseClose { release: id, reason }, admin).await
}

async fn list(context: &Context, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let listed = client.list::<PersonRow>("people", args).await?;
    listed.tell(args);
    let people = listed.items;
    if context.json() {
        output::json(&people)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = people.into_iter().map(|person| {
        let active = if person.active { "active" } else { "disabled" };
        vec![
            person.name,
            active.to_owned(),
            person.groups.join(", "),
            person.factors.join(", "),
            person.accounts.join(", "),
        ]
    });
    output::table(&["NAME", "STATE", "GROUPS", "FACTORS", "ACCOUNTS"], rows.collect());
    Ok(ExitCode::SUCCESS)
}
