//! `cargo xtask bench approvals`: G5, G6 and G7 of the goals, each beside its yardstick of the same minute.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::compare::{self, Goal, percentile};
use super::floor::Floor;
use super::postgres::Postgres;
use crate::{Verdict, run, tools};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rounds of each measurement
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Approvals of one client in each round
    #[arg(long, default_value_t = 300)]
    alone: u32,
    /// Approvals of 64 clients in each round
    #[arg(long, default_value_t = 3000)]
    together: u32,
    /// Folder on the file system to measure
    #[arg(long)]
    dir: Option<PathBuf>,
}

const CLIENTS: u32 = 64;
const RECORD: u32 = 256;
const G5_P50: Goal = Goal { least: 0.0, most: 2.0 };
const G5_P99: Goal = Goal { least: 0.0, most: 3.0 };
const G6: Goal = Goal { least: 2.0, most: f64::INFINITY };
const G7_TOGETHER: f64 = 0.10;
const G7_ALONE: f64 = 2.0;

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    tools::install(tools::BENCH)?;
    let floor = Floor::build()?;
    for package in ["countersign", "countersign-bench-approvals"] {
        run::check(&mut run::command("cargo", &["build", "--release", "--package", package]))?;
    }
    let parent = args.dir.clone().unwrap_or_else(run::target);
    let dir =
        tempfile::tempdir_in(&parent).with_context(|| format!("could not make a folder in {}", parent.display()))?;
    let postgres = Postgres::start()?;

    let mut service = Service::start(dir.path(), "plain", args.together, None)?;
    let mut alone = compare::interleave(
        args.rounds,
        [("G5 approval, 1 client, p50", "us", Some(G5_P50)), ("G5 approval, 1 client, p99", "us", Some(G5_P99))],
        || {
            let micros = floor.append_fdatasync(dir.path(), args.alone.max(1000), RECORD)?;
            Ok([percentile(&micros, 50), percentile(&micros, 99)])
        },
        || {
            let measured = service.approve(1, args.alone)?;
            Ok([percentile(&measured.micros, 50), percentile(&measured.micros, 99)])
        },
    )?;
    let together = compare::interleave(
        args.rounds,
        [("G6 approvals, 64 clients, beside PostgreSQL", "/s", Some(G6))],
        || Ok([postgres.transactions_per_second(CLIENTS)?]),
        || {
            let measured = service.approve(CLIENTS, args.together)?;
            Ok([f64::from(args.together) / measured.seconds])
        },
    )?;
    drop(service);
    alone.extend(together);
    println!("{}\n", compare::comparison_table(&alone));

    let syncs = syncs(dir.path(), args)?;
    let rows = [
        ("G7 syncs per approval, 1 client", syncs.alone, G7_ALONE),
        ("G7 syncs per approval, 64 clients", syncs.together, G7_TOGETHER),
    ];
    let table = rows.iter().map(|(name, value, most)| {
        let verdict = if value <= most { "met" } else { "MISSED" };
        vec![(*name).to_owned(), format!("{value:.3}"), format!("at most {most:.2}: {verdict}")]
    });
    println!("{}", compare::table(&["what", "counted", "goal"], table));
    let met = alone.iter().all(compare::Comparison::is_met) && rows.iter().all(|(_, value, most)| value <= most);
    if !met {
        println!("a goal is missed");
        return Ok(Verdict::Bad);
    }
    Ok(Verdict::Good)
}

struct Syncs {
    alone: f64,
    together: f64,
}

/// Counts the service's syncs from outside, with strace, in a run of its own: counting slows it down.
fn syncs(dir: &Path, args: &Args) -> Result<Syncs> {
    let trace = dir.join("trace");
    let mut service = Service::start(dir, "traced", args.together, Some(&trace))?;
    let mut counted = |clients: u32, count: u32| -> Result<f64> {
        service.prepare_and(clients, count, || lines(&trace)).map(|(before, _)| before).and_then(|before| {
            let after = lines(&trace)?;
            Ok(f64::from(after - before) / f64::from(count))
        })
    };
    Ok(Syncs { alone: counted(1, args.alone)?, together: counted(CLIENTS, args.together)? })
}

fn lines(trace: &Path) -> Result<u32> {
    let text = std::fs::read_to_string(trace).with_context(|| format!("could not read {}", trace.display()))?;
    // A call that is interrupted by another thread's stands in two lines; its end counts.
    Ok(u32::try_from(text.lines().filter(|line| line.contains("sync") && line.contains("= 0")).count())?)
}

/// The built service on a database with many approvers, and the load that they make.
struct Service {
    server: Child,
    load: Child,
    orders: ChildStdin,
    results: BufReader<ChildStdout>,
}

#[derive(Deserialize)]
struct Measured {
    micros: Vec<f64>,
    seconds: f64,
}

impl Service {
    fn start(parent: &Path, name: &str, approvers: u32, trace: Option<&Path>) -> Result<Self> {
        let dir = parent.join(name);
        let address = free_address()?;
        let release = run::target().join("release");
        let load = release.join("countersign-bench-approvals");
        eprintln!("setting up {approvers} approvers");
        let mut seed = Command::new(&load);
        seed.arg("seed").arg("--dir").arg(&dir).args(["--listen", &address, "--approvers", &approvers.to_string()]);
        run::check(&mut seed)?;
        let mut server = match trace {
            Some(trace) => {
                let mut strace = Command::new("strace");
                strace.args(["-f", "--seccomp-bpf", "-qq", "-e", "trace=fdatasync,fsync", "-o"]).arg(trace);
                strace.arg(release.join("countersign"));
                strace
            }
            None => Command::new(release.join("countersign")),
        };
        server.arg("serve").arg("--config").arg(dir.join("countersign.toml")).stdin(Stdio::null());
        let server = server.spawn().context("could not start the service")?;
        let mut load = Command::new(&load);
        load.arg("load").arg("--dir").arg(&dir).args(["--server", &address]);
        let mut load = load.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("could not start the load")?;
        let orders = load.stdin.take().context("the load has no input")?;
        let results = BufReader::new(load.stdout.take().context("the load has no output")?);
        let service = Self { server, load, orders, results };
        wait_until_ready(&address)?;
        Ok(service)
    }

    fn approve(&mut self, clients: u32, count: u32) -> Result<Measured> {
        self.prepare_and(clients, count, || Ok(())).map(|((), measured)| measured)
    }

    /// Asks for `count` operations, then does `between`, then approves them.
    fn prepare_and<T>(
        &mut self,
        clients: u32,
        count: u32,
        between: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Measured)> {
        writeln!(self.orders, "{clients} {count}")?;
        self.orders.flush()?;
        self.expect("ready")?;
        let seen = between()?;
        writeln!(self.orders, "go")?;
        self.orders.flush()?;
        let line = self.line()?;
        let measured = serde_json::from_str(&line).with_context(|| format!("the load said {line:?}"))?;
        Ok((seen, measured))
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        let line = self.line()?;
        if line.trim() != word {
            bail!("the load said {line:?} instead of {word}");
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.results.read_line(&mut line)? == 0 {
            bail!("the load ended early");
        }
        Ok(line)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for child in [&mut self.load, &mut self.server] {
            // An error means that it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An address that was free a moment ago.
fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn wait_until_ready(address: &str) -> Result<()> {
    let begin = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        if begin.elapsed() > Duration::from_secs(30) {
            bail!("the service does not answer on {address}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
