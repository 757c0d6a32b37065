//! `cargo xtask bench footprint`: memory, time to start and size of a service that holds much, beside a bare axum server of the same minute.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::compare::{self, Comparison, Goal, Round};
use super::floor::{self, Floor};
use super::load;
use super::seeded;
use super::server::{ECHO, HEALTH, Server, free_address};
use super::{Common, Ground};
use crate::Verdict;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rounds of each measurement
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds without a call before memory is looked at
    #[arg(long, default_value_t = 10)]
    quiet: u64,
    /// Seconds of calls in each round
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Fill the data folder again, even if there is one
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    common: Common,
}

const CALLERS: u32 = 64;
/// Those under whose calls the service is killed.
const ASKERS: u32 = 8;
/// Long enough for a log that is to be recovered.
const UNDER_LOAD: Duration = Duration::from_secs(1);
const MB: f64 = 1e6;

const IDLE: Goal = Goal::at_most(40.0);
const CLEAN: Goal = Goal::at_most(300.0);
const KILLED: Goal = Goal::at_most(1_000.0);
const BINARY: Goal = Goal::at_most(40.0);

/// What one round sees of a server; the yardstick has one way to start.
struct Seen {
    idle: f64,
    anonymous: f64,
    called: f64,
    rate: f64,
    cpu: f64,
    cold: f64,
    warm: f64,
    killed: f64,
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    let Ground { floor, service: binary, load, dir } = args.common.prepare()?;
    let seeded = seeded::folder(&binary, &load, args.fresh)?;
    seeded::copy(&seeded, dir.path())?;
    let service = Service { binary, dir: dir.path().to_owned(), address: free_address()? };
    // The first start after a copy is not like the others.
    service.start()?.stop()?;

    let mut comparisons = compare::interleave(
        args.rounds,
        [
            ("G9 resident when idle", "MB", Some(IDLE)),
            ("  of that, not backed by a file", "MB", None),
            ("resident after calls of /whoami", "MB", None),
            ("calls of /whoami, 64 connections, beside echoes", "/s", None),
            ("CPU per call of /whoami, beside an echo", "us", None),
            ("G9 ready after a clean stop, files not cached", "ms", Some(CLEAN)),
            ("G9 ready after a clean stop, files cached", "ms", Some(CLEAN)),
            ("G9 ready after kill -9 under load, files cached", "ms", Some(KILLED)),
        ],
        || yardstick(&floor, args).map(Seen::figures),
        || service.measure(args).map(Seen::figures),
    )?;
    comparisons.push(Comparison {
        name: "G9 size of the program".to_owned(),
        unit: "MB",
        goal: Some(BINARY),
        rounds: vec![Round { floor: size(floor.program())?, ours: size(&service.binary)? }],
    });
    println!("{} live tokens, {} ledger entries; the yardstick holds nothing\n", seeded::TOKENS, seeded::ENTRIES);
    println!("{}", compare::comparison_table(&comparisons));
    if comparisons.iter().all(Comparison::is_met) {
        return Ok(Verdict::Good);
    }
    println!("a goal is missed");
    Ok(Verdict::Bad)
}

impl Seen {
    fn figures(self) -> [f64; 8] {
        let Self { idle, anonymous, called, rate, cpu, cold, warm, killed } = self;
        [idle, anonymous, called, rate, cpu, cold, warm, killed]
    }
}

fn yardstick(floor: &Floor, args: &Args) -> Result<Seen> {
    let address = free_address()?;
    let server = Server::start(&mut floor.echo_on(&address), &address, ECHO)?;
    let ready = millis(server.ready);
    let url = format!("http://{address}/");
    let seen = occupied(&server, args, || load::wrk(&url, "xtask/src/bench/echo.lua", CALLERS, args.seconds, &[]))?;
    Ok(Seen { cold: ready, warm: ready, killed: ready, ..seen })
}

/// Memory in peace, then under load.
fn occupied(server: &Server, args: &Args, load: impl FnOnce() -> Result<load::Load>) -> Result<Seen> {
    std::thread::sleep(Duration::from_secs(args.quiet));
    let idle = server.memory()?;
    let before = floor::cpu_micros(server.id())?;
    let load = load()?;
    let cpu = (floor::cpu_micros(server.id())? - before) / load.requests;
    Ok(Seen {
        idle: megabytes(idle.resident),
        anonymous: megabytes(idle.anonymous),
        called: megabytes(server.memory()?.resident),
        rate: load.per_second,
        cpu,
        cold: 0.0,
        warm: 0.0,
        killed: 0.0,
    })
}

/// The built service on its copy of the filled folder.
struct Service {
    binary: PathBuf,
    dir: PathBuf,
    address: String,
}

impl Service {
    fn start(&self) -> Result<Server> {
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--config").arg(self.dir.join("countersign.toml")).args(["--listen", &self.address]);
        Server::start(&mut command, &self.address, HEALTH)
    }

    fn measure(&self, args: &Args) -> Result<Seen> {
        seeded::forget(&self.dir)?;
        let server = self.start()?;
        let cold = millis(server.ready);
        let url = format!("http://{}/", self.address);
        let tokens = self.tokens();
        let script = "xtask/src/bench/validate.lua";
        let seen = occupied(&server, args, || load::wrk(&url, script, CALLERS, args.seconds, &[&tokens]))?;
        server.stop()?;

        let server = self.start()?;
        let warm = millis(server.ready);
        self.kill_under_load(server)?;
        let server = self.start()?;
        let killed = millis(server.ready);
        server.stop()?;
        Ok(Seen { cold, warm, killed, ..seen })
    }

    /// SIGKILL while calls are answered that write.
    fn kill_under_load(&self, server: Server) -> Result<()> {
        let url = format!("http://{}/", self.address);
        let mut load = load::command(&url, "xtask/src/bench/ask.lua", ASKERS, 60, &[&self.tokens()]);
        let mut load = load.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("could not start wrk")?;
        let before = floor::cpu_micros(server.id())?;
        std::thread::sleep(UNDER_LOAD);
        let worked = floor::cpu_micros(server.id())? > before;
        let killed = server.kill();
        // Its server is gone; what it has to say of that is not asked.
        load.kill()?;
        load.wait()?;
        killed?;
        anyhow::ensure!(worked, "the load that the service was to be killed under did not reach it");
        Ok(())
    }

    fn tokens(&self) -> String {
        self.dir.join("tokens.txt").display().to_string()
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / MB
}

fn size(program: &Path) -> Result<f64> {
    let data = program.metadata().with_context(|| format!("could not look at {}", program.display()))?;
    Ok(megabytes(data.len()))
}
