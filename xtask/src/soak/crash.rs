//! The loop of `cargo xtask soak crash`.

use std::process::Child;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::Verdict;

/// Something that is killed. It keeps what was acknowledged outside of the process, because that is what a client would remember.
pub(crate) trait Victim {
    /// Starts the process, on what the last round left behind, and puts it under load.
    fn start(&mut self) -> Result<Child>;

    /// Looks at what is left after a kill; each string is one damage. Called once after each start, when the process is gone.
    fn damage(&mut self) -> Result<Vec<String>>;

    /// How much has been acknowledged in all rounds, for the report.
    fn acknowledged(&self) -> u64;

    /// What else is to be told at the end.
    fn report(&self) -> Option<String> {
        None
    }
}

const EARLIEST: Duration = Duration::from_millis(5);
const LATEST: Duration = Duration::from_millis(250);

pub(crate) fn run(victim: &mut impl Victim, rounds: u32, seed: Option<u64>) -> Result<Verdict> {
    let seed = seed.unwrap_or_else(clock_seed);
    println!("seed {seed}");
    let mut moments = Moments(seed);
    for round in 1..=rounds {
        let mut child = victim.start()?;
        let moment = moments.next();
        std::thread::sleep(moment);
        if let Some(status) = child.try_wait()? {
            println!("round {round}: ended by itself with {status}, {moment:?} after its start");
            return Ok(Verdict::Bad);
        }
        child.kill()?;
        child.wait()?;
        let damage = victim.damage()?;
        if !damage.is_empty() {
            println!("round {round}: killed {moment:?} after its start");
            for damage in damage {
                println!("  {damage}");
            }
            println!("repeat with --seed {seed} --rounds {round}");
            if let Some(report) = victim.report() {
                println!("{report}");
            }
            return Ok(Verdict::Bad);
        }
    }
    if let Some(report) = victim.report() {
        println!("{report}");
    }
    let acknowledged = victim.acknowledged();
    if acknowledged == 0 {
        println!("{rounds} kills, but nothing was ever acknowledged, so nothing is proved");
        return Ok(Verdict::Bad);
    }
    println!("{rounds} kills, {acknowledged} acknowledged, nothing lost");
    Ok(Verdict::Good)
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
    use std::process::Command;

    use super::*;

    /// Sleeps, and reports damage from a given round on.
    struct Scripted {
        round: u32,
        damaged_from: u32,
        program: &'static str,
    }

    impl Victim for Scripted {
        fn start(&mut self) -> Result<Child> {
            self.round += 1;
            Ok(Command::new(self.program).arg("60").spawn()?)
        }

        fn damage(&mut self) -> Result<Vec<String>> {
            let damaged = self.round >= self.damaged_from;
            Ok(damaged.then(|| "lost".to_owned()).into_iter().collect())
        }

        fn acknowledged(&self) -> u64 {
            u64::from(self.round) - 1
        }
    }

    fn scripted(damaged_from: u32, program: &'static str) -> Scripted {
        Scripted { round: 0, damaged_from, program }
    }

    #[test]
    fn damage_stops_the_run() {
        let mut victim = scripted(2, "sleep");
        assert_eq!(run(&mut victim, 5, Some(1)).unwrap(), Verdict::Bad);
        assert_eq!(victim.round, 2);
    }

    #[test]
    fn no_damage_is_good_unless_nothing_was_acknowledged() {
        assert_eq!(run(&mut scripted(9, "sleep"), 2, Some(1)).unwrap(), Verdict::Good);
        assert_eq!(run(&mut scripted(9, "sleep"), 1, Some(1)).unwrap(), Verdict::Bad);
    }

    #[test]
    fn a_victim_that_ends_by_itself_is_a_failure() {
        let mut victim = scripted(9, "true");
        // 7 spreads its first moment late enough for `true` to have ended.
        assert_eq!(run(&mut victim, 1, Some(7)).unwrap(), Verdict::Bad);
    }

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
