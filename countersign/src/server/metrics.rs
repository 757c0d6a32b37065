//! What only the process itself can measure, and the folding of what was measured.

use std::time::Duration;

use countersign_engine::Metrics;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(5);
/// The unit of times in `/proc`, whatever the kernel counts in itself (proc(5), `USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// Measures until told to stop.
pub(super) async fn run(metrics: Metrics, stop: CancellationToken) {
    while !stop.is_cancelled() {
        metrics.upkeep();
        // Elsewhere than on Linux there is no such file, and these two stay 0.
        if let (Ok(status), Ok(stat)) =
            (std::fs::read_to_string("/proc/self/status"), std::fs::read_to_string("/proc/self/stat"))
        {
            metrics.process(resident(&status), used(&stat));
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// `VmRSS`, in bytes.
fn resident(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// `utime` and `stime`, the fields 14 and 15. The second field, the name, may hold blanks and brackets.
fn used(stat: &str) -> Duration {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u32 =
        after_name.split_ascii_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    TICK.saturating_mul(ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_proc() {
        assert_eq!(resident("Name:\tx\nVmPeak:\t  9 kB\nVmRSS:\t    1234 kB\nThreads:\t2\n"), 1234 * 1024);
        assert_eq!(resident("Name:\tx\n"), 0);
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 600 0 0 0 150 50 7 8 20 0 1 0 100 0";
        assert_eq!(used(stat), Duration::from_secs(2));
        assert_eq!(used(""), Duration::ZERO);
    }

    #[test]
    fn this_process_uses_something() {
        assert!(resident(&std::fs::read_to_string("/proc/self/status").unwrap()) > 100_000);
        let begun = used(&std::fs::read_to_string("/proc/self/stat").unwrap());
        let mut sum = 0_u64;
        while used(&std::fs::read_to_string("/proc/self/stat").unwrap()) == begun {
            sum = (0..100_000_u64).fold(sum, u64::wrapping_add);
        }
    }
}
