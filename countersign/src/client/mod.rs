//! The commands that speak to a server, and those that need none.

mod admin;
mod answer;
mod ask;
mod code;
mod demo;
mod enroll;
mod events;
mod groups;
mod home;
pub(crate) mod http;
mod inbox;
mod ledger;
mod lists;
mod login;
mod newest;
pub(crate) mod output;
mod policy;
pub(crate) mod prompt;
mod review;
mod run;
mod session;
mod show;
mod surroundings;
mod tokens;
mod users;
mod verify;
mod wait;
pub(crate) mod wire;
pub(crate) mod words;

use std::process::ExitCode;

use crate::cli::{self, Command, Globals, LedgerCommand};
use crate::exit::Failure;
use session::Context;

pub(crate) async fn dispatch(globals: Globals, command: Command) -> anyhow::Result<ExitCode> {
    let context = Context::new(globals)?;
    match command {
        Command::Help(args) => cli::help(&args).map(|()| ExitCode::SUCCESS),
        Command::Login(args) => login::login(&context, args).await,
        Command::Whoami => login::whoami(&context).await,
        Command::Logout => login::logout(&context).await,
        Command::Enroll(args) => enroll::enroll(&context, &args).await,
        Command::Run(args) => run::run(&context, args).await,
        Command::Ask(args) => ask::ask(&context, args).await,
        Command::Inbox(args) => inbox::inbox(&context, &args).await,
        Command::Show(args) => show::show(&context, &args).await,
        Command::Approve(args) => answer::approve(&context, &args).await,
        Command::Deny(args) => answer::deny(&context, &args).await,
        Command::Cancel(args) => answer::cancel(&context, &args).await,
        Command::Revoke(args) => answer::revoke(&context, &args).await,
        Command::Wait(args) => wait::wait(&context, &args).await,
        Command::Verify(args) => verify::verify(&context, &args),
        Command::User(command) => users::user(&context, command).await,
        Command::Group(command) => groups::group(&context, command).await,
        Command::Service(command) => users::service(&context, command).await,
        Command::Link(args) => users::link(&context, args).await,
        Command::Token(command) => tokens::token(&context, command).await,
        Command::Policy(command) => policy::policy(&context, command).await,
        Command::Release(command) => users::release(&context, command).await,
        Command::Ledger(LedgerCommand::Verify { checkpoints, log_key, .. }) => {
            ledger::verify(&context, &checkpoints, log_key.as_deref()).await
        }
        Command::Ledger(LedgerCommand::Checkpoint) => ledger::checkpoint(&context).await,
        Command::Serve(_)
        | Command::Demo(_)
        | Command::Init(_)
        | Command::Config(_)
        | Command::Backup(_)
        | Command::Restore(_) => Err(Failure::new("this command runs on the server's machine").into()),
    }
}
