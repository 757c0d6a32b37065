//! `cargo xtask bench approvals`: G5, G6 and G7 of the goals, each beside its yardstick of the same minute.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::Deserialize;

use super::compare::{self, Comparison, Goal, percentile};
use super::floor::{self, Floor};
use super::postgres::Postgres;
use super::server::{HEALTH, Server, free_address};
use super::{Common, Ground};
use crate::{Verdict, run};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rounds of each measurement
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Measure this alone; may be given several times
    #[arg(long)]
    only: Vec<What>,
    /// Approvals of one client in each round
    #[arg(long, default_value_t = 300)]
    alone: u32,
    /// Approvals of 64 clients in each round
    #[arg(long, default_value_t = 3000)]
    together: u32,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// How long an approval takes, beside a bare append and fdatasync
    G5,
    /// Approvals of 64 clients in a second, beside PostgreSQL
    G6,
    /// Syncs for each approval
    G7,
}

impl Args {
    fn wants(&self, what: What) -> bool {
        self.only.is_empty() || self.only.contains(&what)
    }

    /// A code counts once and a new one comes in 30 seconds, so more approvers mean less waiting; beyond this, making them takes longer than that.
    fn approvers(&self) -> u32 {
        let alone = if self.wants(What::G5) { self.alone * self.rounds } else { 0 };
        let together = if self.wants(What::G6) { self.together * self.rounds } else { 0 };
        let most = 2 * self.alone.max(self.together);
        let least = self.alone.max(if self.wants(What::G6) || self.wants(What::G7) { self.together } else { 0 });
        (alone + together).clamp(least, most.max(least))
    }
}

const CLIENTS: u32 = 64;
const RECORD: u32 = 256;
/// Appends of the yardstick in a round, at least.
const APPENDS: u32 = 1_000;
const G5_P50: Goal = Goal::ratio(0.0, 2.0);
const G5_P99: Goal = Goal::ratio(0.0, 3.0);
const G6: Goal = Goal::ratio(2.0, f64::INFINITY);
const G7_TOGETHER: f64 = 0.10;
const G7_ALONE: f64 = 2.0;

/// A figure without a yardstick.
struct Counted {
    name: &'static str,
    value: f64,
    unit: &'static str,
    most: Option<f64>,
}

impl Counted {
    fn is_met(&self) -> bool {
        self.most.is_none_or(|most| self.value <= most)
    }

    fn row(&self) -> Vec<String> {
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        let goal = self.most.map_or(String::new(), |most| format!("at most {most:.2}: {verdict}"));
        vec![self.name.to_owned(), format!("{:.3}", self.value), self.unit.to_owned(), goal]
    }
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    let ground = args.common.prepare()?;
    let floor = &ground.floor;
    let mut bench = Bench::set_up(&ground, args)?;
    let mut comparisons = Vec::new();
    let mut counted = Vec::new();
    if args.wants(What::G5) || args.wants(What::G6) {
        let server = bench.place.serve()?;
        if args.wants(What::G5) {
            comparisons.extend(alone(&mut bench, floor, &server, args, &mut counted)?);
        }
        if args.wants(What::G6) {
            comparisons.extend(together(&mut bench, &server, args, &mut counted)?);
        }
        server.stop()?;
    }
    if !comparisons.is_empty() {
        println!("{}\n", compare::comparison_table(&comparisons));
    }
    if args.wants(What::G7) {
        syncs(&mut bench, args, &mut counted)?;
    }
    println!("{}", compare::table(&["what", "counted", "unit", "goal"], counted.iter().map(Counted::row)));
    if comparisons.iter().all(Comparison::is_met) && counted.iter().all(Counted::is_met) {
        return Ok(Verdict::Good);
    }
    println!("a goal is missed");
    Ok(Verdict::Bad)
}

fn alone(
    bench: &mut Bench,
    floor: &Floor,
    server: &Server,
    args: &Args,
    counted: &mut Vec<Counted>,
) -> Result<Vec<Comparison>> {
    let mut cpu = Vec::new();
    let dir = bench.place.dir.clone();
    let comparisons = compare::interleave(
        args.rounds.try_into()?,
        [("G5 approval, 1 client, p50", "us", Some(G5_P50)), ("G5 approval, 1 client, p99", "us", Some(G5_P99))],
        || {
            let micros = floor.append_fdatasync(&dir, args.alone.max(APPENDS), RECORD)?;
            Ok([percentile(&micros, 50), percentile(&micros, 99)])
        },
        || {
            let (used, measured) = bench.approve(1, args.alone, server)?;
            cpu.push(used);
            Ok([percentile(&measured.micros, 50), percentile(&measured.micros, 99)])
        },
    )?;
    counted.push(Counted {
        name: "CPU of the service per approval, 1 client",
        value: compare::median(cpu),
        unit: "us",
        most: None,
    });
    Ok(comparisons)
}

fn together(bench: &mut Bench, server: &Server, args: &Args, counted: &mut Vec<Counted>) -> Result<Vec<Comparison>> {
    let postgres = Postgres::start()?;
    let mut cpu = Vec::new();
    let comparisons = compare::interleave(
        args.rounds.try_into()?,
        [("G6 approvals, 64 clients, beside PostgreSQL", "/s", Some(G6))],
        || Ok([postgres.transactions_per_second(CLIENTS)?]),
        || {
            let (used, measured) = bench.approve(CLIENTS, args.together, server)?;
            cpu.push(used);
            Ok([f64::from(args.together) / measured.seconds])
        },
    )?;
    counted.push(Counted {
        name: "CPU of the service per approval, 64 clients",
        value: compare::median(cpu),
        unit: "us",
        most: None,
    });
    Ok(comparisons)
}

fn syncs(bench: &mut Bench, args: &Args, counted: &mut Vec<Counted>) -> Result<()> {
    for (name, clients, approvals, most) in [
        ("G7 syncs per approval, 1 client", 1, args.alone, G7_ALONE),
        ("G7 syncs per approval, 64 clients", CLIENTS, args.together, G7_TOGETHER),
    ] {
        let value = count_syncs(bench, clients, approvals)?;
        counted.push(Counted { name, value, unit: "", most: Some(most) });
    }
    Ok(())
}

/// Counts the service's syncs from outside, with strace, in a start of its own: counting slows it down, and asking should not be slow.
fn count_syncs(bench: &mut Bench, clients: u32, approvals: u32) -> Result<f64> {
    let place = bench.place.clone();
    let trace = place.dir.join(format!("trace-{clients}"));
    let server = place.serve()?;
    let ((server, before), _) = bench.prepare_and(clients, approvals, || {
        server.stop()?;
        let traced = place.serve_traced(&trace)?;
        Ok((traced, settled(&trace)?))
    })?;
    // What follows the last answer, such as its place in the tree, was caused by these approvals too.
    let after = settled(&trace)?;
    server.stop()?;
    Ok(f64::from(after - before) / f64::from(approvals))
}

/// The syncs so far, once there are no more for a while.
fn settled(trace: &Path) -> Result<u32> {
    let mut seen = finished(&read(trace)?);
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(500));
        let now = finished(&read(trace)?);
        if now == seen {
            break;
        }
        seen = now;
    }
    u32::try_from(seen).context("too many syncs")
}

fn read(trace: &Path) -> Result<String> {
    std::fs::read_to_string(trace).with_context(|| format!("could not read {}", trace.display()))
}

/// Syncs that succeeded. One that another thread's call interrupts stands in two lines, and its end counts.
fn finished(trace: &str) -> usize {
    trace.lines().filter(|line| line.contains("sync") && line.trim_end().ends_with("= 0")).count()
}

/// A database with many approvers, and who serves it where.
#[derive(Debug, Clone)]
struct Place {
    service: PathBuf,
    dir: PathBuf,
    address: String,
}

/// The load that they make.
struct Bench {
    place: Place,
    load: Child,
    orders: ChildStdin,
    results: BufReader<ChildStdout>,
}

#[derive(Deserialize)]
struct Measured {
    micros: Vec<f64>,
    seconds: f64,
}

impl Place {
    fn serve(&self) -> Result<Server> {
        let mut server = Command::new(&self.service);
        Server::start(server.args(self.arguments()), &self.address, HEALTH)
    }

    fn serve_traced(&self, trace: &Path) -> Result<Server> {
        let mut strace = Command::new("strace");
        strace.args(["-f", "--seccomp-bpf", "-qq", "-e", "trace=fdatasync,fsync", "-o"]).arg(trace);
        strace.arg(&self.service).args(self.arguments());
        Server::start_within(&mut strace, &self.address, HEALTH)
    }

    fn arguments(&self) -> [String; 5] {
        let config = self.dir.join("countersign.toml").display().to_string();
        ["serve", "--config", &config, "--listen", &self.address].map(str::to_owned)
    }
}

impl Bench {
    fn set_up(ground: &Ground, args: &Args) -> Result<Self> {
        let (dir, address) = (ground.dir.path().join("service"), free_address()?);
        let program = &ground.load;
        let approvers = args.approvers();
        eprintln!("setting up {approvers} approvers");
        let mut seed = Command::new(program);
        seed.arg("seed-approvers").arg("--dir").arg(&dir).args(["--approvers", &approvers.to_string()]);
        run::check(&mut seed)?;
        let mut load = Command::new(program);
        load.arg("approve").arg("--dir").arg(&dir).args(["--server", &address]);
        let mut load = load.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("could not start the load")?;
        let orders = load.stdin.take().context("the load has no input")?;
        let results = BufReader::new(load.stdout.take().context("the load has no output")?);
        let place = Place { service: ground.service.clone(), dir, address };
        Ok(Self { place, load, orders, results })
    }

    /// The CPU that each approval took, in microseconds, and the figures of the load.
    fn approve(&mut self, clients: u32, count: u32, server: &Server) -> Result<(f64, Measured)> {
        let (before, measured) = self.prepare_and(clients, count, || floor::cpu_micros(server.id()))?;
        let used = floor::cpu_micros(server.id())? - before;
        Ok((used / f64::from(count), measured))
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

impl Drop for Bench {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.load.kill();
        let _ = self.load.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sync_counts_once_and_only_when_it_ends() {
        let trace = "7 fdatasync(9) = 0\n8 fsync(4 <unfinished ...>\n9 fdatasync(9 <unfinished ...>\n\
            8 <... fsync resumed>) = 0\n9 <... fdatasync resumed>) = -1 EIO (Input/output error)\n";
        assert_eq!(finished(trace), 2);
    }

    #[test]
    fn there_are_enough_approvers_for_each_measurement() {
        let args = |only: &[What], rounds| Args {
            rounds,
            only: only.to_vec(),
            alone: 300,
            together: 3000,
            common: Common { dir: None, no_build: true },
        };
        assert_eq!(args(&[], 5).approvers(), 6_000);
        assert_eq!(args(&[], 1).approvers(), 3_300);
        assert_eq!(args(&[What::G5], 5).approvers(), 1_500);
        assert_eq!(args(&[What::G6], 5).approvers(), 6_000);
        assert_eq!(args(&[What::G7], 5).approvers(), 3_000);
    }
}
