//! `cargo xtask bench floor`: the yardsticks alone, and the append loop against itself, which tells how far to trust any ratio on this machine.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::compare::{self, Goal, median, percentile};
use super::floor::{self, Floor};
use super::load::{self, Load};
use crate::{Verdict, run, tools};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rounds of each measurement
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of load on the echo server in each round
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Appends in each round
    #[arg(long, default_value_t = 1000)]
    appends: u32,
    /// Folder on the file system to measure
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Two equal loops that differ by more than this mean that the machine is too restless for any other ratio.
const NOISE: Goal = Goal::ratio(0.8, 1.25);
const CONNECTIONS: u32 = 64;
const RECORD: u32 = 256;

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    tools::install(tools::BENCH)?;
    let floor = Floor::build()?;
    let parent = args.dir.clone().unwrap_or_else(run::target);
    let dir =
        tempfile::tempdir_in(&parent).with_context(|| format!("could not make a folder in {}", parent.display()))?;

    let append = || {
        let micros = floor.append_fdatasync(dir.path(), args.appends, RECORD)?;
        Ok([percentile(&micros, 50), percentile(&micros, 99)])
    };
    let noise = compare::interleave(
        args.rounds,
        [
            ("append + fdatasync against itself, p50", "us", Some(NOISE)),
            ("append + fdatasync against itself, p99", "us", None),
        ],
        append,
        append,
    )?;
    let mut rows = signatures(&floor, args.rounds)?;
    rows.extend(echo(&floor, args)?);
    println!("{}\n", compare::comparison_table(&noise));
    println!("{}", compare::table(&["yardstick", "median", "unit"], rows));
    if !noise.iter().all(compare::Comparison::is_met) {
        println!("two equal loops differ too much; let the machine come to rest and run again");
        return Ok(Verdict::Bad);
    }
    Ok(Verdict::Good)
}

fn signatures(floor: &Floor, rounds: usize) -> Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    for alg in ["ed25519", "rsa2048"] {
        let costs = (0..rounds).map(|_| floor.sign(alg, 2000)).collect::<Result<Vec<_>>>()?;
        let sign = median(costs.iter().map(|cost| cost.sign_micros));
        let verify = median(costs.iter().map(|cost| cost.verify_micros));
        rows.push(row(&format!("{alg} sign"), sign, "us"));
        rows.push(row(&format!("{alg} verify"), verify, "us"));
    }
    Ok(rows)
}

fn echo(floor: &Floor, args: &Args) -> Result<Vec<Vec<String>>> {
    let server = floor.echo()?;
    let mut loads: Vec<Load> = Vec::new();
    let mut cpu = Vec::new();
    for _ in 0..args.rounds {
        let before = floor::cpu_micros(server.id())?;
        let load = load::wrk(&server.url(), "xtask/src/bench/echo.lua", CONNECTIONS, args.seconds, &[])?;
        cpu.push((floor::cpu_micros(server.id())? - before) / load.requests);
        loads.push(load);
    }
    let of = |field: fn(&Load) -> f64| median(loads.iter().map(field));
    let name = format!("JSON echo, {CONNECTIONS} connections");
    Ok(vec![
        row(&format!("{name}, rate"), of(|load| load.per_second), "requests/s"),
        row(&format!("{name}, p50"), of(|load| load.p50_micros), "us"),
        row(&format!("{name}, p99"), of(|load| load.p99_micros), "us"),
        row(&format!("{name}, CPU of the server"), median(cpu), "us/request"),
    ])
}

fn row(name: &str, value: f64, unit: &str) -> Vec<String> {
    vec![name.to_owned(), format!("{value:.1}"), unit.to_owned()]
}
