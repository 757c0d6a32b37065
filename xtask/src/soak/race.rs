//! `cargo xtask soak race`.

use anyhow::Result;

use super::server::race;
use crate::{Verdict, run};

/// More of what is wrong says nothing new.
const SHOWN: usize = 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rounds of each race, of sixty-four connections each
    #[arg(long, default_value_t = 1_000)]
    rounds: u32,
    #[command(flatten)]
    common: super::Common,
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    let binary = args.common.prepare()?;
    let mut verdict = Verdict::Good;
    for engine in args.common.engines() {
        let tally = race(engine, &binary, &run::target(), args.rounds)?;
        println!("{engine}:\n{tally}");
        for wrong in tally.wrong().iter().take(SHOWN) {
            println!("  wrong: {wrong}");
            verdict = Verdict::Bad;
        }
        if tally.rounds().values().any(|rounds| *rounds != u64::from(args.rounds)) {
            println!("  not each race was run {} times", args.rounds);
            verdict = Verdict::Bad;
        }
    }
    Ok(verdict)
}
