//! The project's own automation: `cargo xtask <command>`. Nothing has to be installed before it.

mod bench;
mod run;
mod soak;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

fn main() -> ExitCode {
    match dispatch(&Cli::parse().command) {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// What a command found out. `Bad` has already been explained on the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
enum Verdict {
    Good,
    Bad,
}

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks, tests and measures Countersign")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the rules that the compiler cannot: arrows between crates, SQL, banned crates, file sizes
    Tidy,
    /// Install what the tests need, build everything, run every test
    Test(test::Args),
    /// Measure
    #[command(subcommand)]
    Bench(bench::Command),
    /// Break something again and again and look for damage
    #[command(subcommand)]
    Soak(soak::Command),
}

fn dispatch(command: &Command) -> Result<Verdict> {
    match command {
        Command::Tidy => tidy::run(),
        Command::Test(args) => test::run(args),
        Command::Bench(command) => bench::run(command),
        Command::Soak(command) => soak::run(command),
    }
}
