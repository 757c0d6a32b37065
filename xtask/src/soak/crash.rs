//! `cargo xtask soak crash`.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::server::proxy::Moment;
use super::server::{Engine, Fault, Load, Size};
use crate::{Verdict, run};

const SIZE: Size = Size { clients: 32, approvers: 8 };
/// Every so many rounds all that was ever acknowledged is looked at, not only what is new.
const ALL_EVERY: u32 = 50;
const WORK_EVERY: u32 = 5;
const EARLIEST: Duration = Duration::from_millis(5);
const SLOW: Duration = Duration::from_millis(50);
const LATEST: Duration = Duration::from_millis(2_500);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Random kills
    #[arg(long, default_value_t = 200)]
    rounds: u32,
    /// Kills at each step of a commit, from the first to this one
    #[arg(long, default_value_t = 50)]
    steps: u32,
    /// Repeats the moments of an earlier run
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    common: super::Common,
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    let binary = args.common.prepare()?;
    let seed = args.seed.unwrap_or_else(clock_seed);
    println!("seed {seed}");
    let mut good = true;
    for engine in args.common.engines() {
        good &= soak(engine, &binary, args, seed)?;
    }
    Ok(if good { Verdict::Good } else { Verdict::Bad })
}

/// One engine; false if anything was found.
fn soak(engine: Engine, binary: &Path, args: &Args, seed: u64) -> Result<bool> {
    let mut load = Load::new(engine, binary, &run::target(), SIZE)?;
    let mut moments = Moments(seed);
    for round in 1..=args.rounds {
        let moment = moments.next();
        load.start()?;
        // Now and then after some work, so that on a slow machine there is something to lose.
        if round.is_multiple_of(WORK_EVERY) {
            load.work(2 * SIZE.clients as u64)?;
        }
        std::thread::sleep(moment);
        load.kill()?;
        if !sound(
            &mut load,
            round.is_multiple_of(ALL_EVERY),
            &format!("round {round}, killed {moment:?} after its start"),
        )? {
            println!("{}\nrepeat with --seed {seed} --rounds {round}", load.report());
            return Ok(false);
        }
    }
    println!("{engine}: {} random kills under the load of {} clients", args.rounds, SIZE.clients);
    let good = match engine {
        Engine::Sqlite => break_the_disk(&mut load, args.steps)?,
        Engine::Postgres => break_the_database(&mut load, args.steps, &mut moments)?,
    };
    // All that was ever told, once more.
    let good = good && sound(&mut load, true, "at the end")?;
    println!("{}", load.report());
    Ok(good)
}

/// strace stands between the service and its disk.
fn break_the_disk(load: &mut Load, steps: u32) -> Result<bool> {
    for n in 1..=steps {
        load.killed_at_sync(n)?;
        if !sound(load, false, &format!("killed at sync {n}"))? {
            return Ok(false);
        }
    }
    println!("sqlite: a kill at each sync from 1 to {steps}");
    for n in [5, 40, 150] {
        for fault in [Fault::SyncFails(n), Fault::WriteFails(3 * n)] {
            load.fails(fault)?;
            if !sound(load, false, &format!("{fault:?}"))? {
                return Ok(false);
            }
        }
    }
    println!("sqlite: a disk that fails at syncs and at writes");
    for from in [60, 400] {
        let damage = load.fills_up(from, 40)?;
        if !none(&damage, "full disk") || !sound(load, false, "after a full disk")? {
            return Ok(false);
        }
    }
    println!("sqlite: a disk that is full for a while");
    load.crawls(SLOW, 60)?;
    let good = sound(load, false, "slow disk")?;
    println!("sqlite: a disk whose syncs take {SLOW:?} longer");
    Ok(good)
}

/// A wire stands between the service and PostgreSQL.
fn break_the_database(load: &mut Load, steps: u32, moments: &mut Moments) -> Result<bool> {
    for moment in [Moment::Sent, Moment::Done] {
        for n in 1..=steps {
            load.killed_at_commit(n, moment)?;
            if !sound(load, false, &format!("killed at COMMIT {n}, {moment:?}"))? {
                return Ok(false);
            }
        }
    }
    println!("postgres: a kill before each COMMIT from 1 to {steps} is sent, and after it was done");
    for _ in 0..steps.div_ceil(5) {
        let damage = load.loses_its_database(&[moments.next(), moments.next()])?;
        if !none(&damage, "killed database") || !sound(load, false, "after a killed database")? {
            return Ok(false);
        }
    }
    println!("postgres: {} kills of the whole database server under a service that lives", 2 * steps.div_ceil(5));
    Ok(true)
}

fn none(damage: &[String], what: &str) -> bool {
    for damage in damage {
        println!("{what}: {damage}");
    }
    damage.is_empty()
}

fn sound(load: &mut Load, all: bool, what: &str) -> Result<bool> {
    let damage = load.damage(all)?;
    if damage.is_empty() {
        return Ok(true);
    }
    println!("{what}:");
    for damage in damage {
        println!("  {damage}");
    }
    Ok(false)
}

/// Moments between the earliest and the latest, from `SplitMix64`, which is enough for spreading kills and needs no crate.
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let span = LATEST.saturating_sub(EARLIEST).as_micros();
        let offset = u64::try_from(u128::from(mixed) % span).unwrap_or_default();
        EARLIEST + Duration::from_micros(offset)
    }
}

fn clock_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::from(since.subsec_nanos()) ^ since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_repeat_with_their_seed_and_stay_in_bounds() {
        let take = |seed| {
            let mut moments = Moments(seed);
            (0..100).map(|_| moments.next()).collect::<Vec<_>>()
        };
        assert_eq!(take(3), take(3));
        assert_ne!(take(3), take(4));
        assert!(take(5).iter().all(|moment| (EARLIEST..LATEST).contains(moment)));
    }
}
