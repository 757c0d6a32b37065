//! `help`: the dozen of every day, one command, or all of them.

use std::fmt::Write as _;

use clap::{Args, Command, CommandFactory as _};

use super::Cli;
use crate::client::output;
use crate::exit::Failure;

#[derive(Debug, Args)]
pub(crate) struct HelpArgs {
    /// Show every command
    #[arg(long)]
    pub(crate) all: bool,
    /// The command to explain
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

pub(crate) fn help(args: &HelpArgs) -> anyhow::Result<()> {
    let mut cli = Cli::command();
    cli.build();
    if args.all {
        output::line(&everything(&cli));
        return Ok(());
    }
    let mut command = cli;
    for name in &args.command {
        command = command.find_subcommand(name).cloned().ok_or_else(|| {
            Failure::new(format!("there is no command {name}")).hint("countersign help --all lists them")
        })?;
    }
    // The long form of the first screen has more lines than a screen.
    let text = if args.command.is_empty() { command.render_help() } else { command.render_long_help() };
    output::line(text.to_string().trim_end());
    Ok(())
}

pub(super) fn everything(cli: &Command) -> String {
    let mut out = String::from("Every command; `countersign help COMMAND` explains one\n");
    list(cli, "", &mut out);
    out.trim_end().to_owned()
}

fn list(command: &Command, prefix: &str, out: &mut String) {
    for sub in command.get_subcommands() {
        let name = format!("{prefix}{}", sub.get_name());
        if sub.is_subcommand_required_set() {
            list(sub, &format!("{name} "), out);
            continue;
        }
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        let _infallible = writeln!(out, "  {name:<22} {about}");
        list(sub, &format!("{name} "), out);
    }
}
