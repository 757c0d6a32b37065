//! Yardsticks: the least that a machine can do for what the service does. Each prints JSON lines; `cargo xtask bench` runs them beside the service.

mod append;
mod echo;
mod sign;

use anyhow::Result;
use clap::{Parser, Subcommand};

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Echo(args) => echo::run(&args),
        Command::Append(args) => append::run(&args),
        Command::Sign(args) => sign::run(&args),
    }
}

#[derive(Parser)]
#[command(about = "Yardsticks for Countersign's benchmarks")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer every JSON body with itself over HTTP
    Echo(echo::Args),
    /// Append records to a file, one fdatasync for each
    Append(append::Args),
    /// Sign and verify on one core
    Sign(sign::Args),
}
