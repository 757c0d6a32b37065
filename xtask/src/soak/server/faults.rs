//! What strace does to the disk of a service while it works.
//!
//! strace counts the calls of each thread for itself, and the database has one thread that writes, so the Nth sync is the Nth of that thread. What is
//! injected must be in the set of traced calls, or nothing is.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::load::Load;

const SYNCS: &str = "fdatasync,fsync";
pub(super) const SIGKILL: i32 = 9;
/// What `serve` ends with when its disk failed.
const FATAL: i32 = 70;
/// Far more than any of this takes.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// What happens to a system call of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL instead of the Nth sync.
    KillAtSync(u32),
    /// The Nth sync fails, and each one after it.
    SyncFails(u32),
    /// The Nth write of a page fails, and each one after it.
    WriteFails(u32),
    /// The disk is full from one write to another.
    Full(u32, u32),
    /// Each sync takes so much longer.
    Slow(Duration),
}

impl Fault {
    fn wrapper(self, trace: &Path) -> Vec<String> {
        let (calls, what) = match self {
            Self::KillAtSync(n) => (SYNCS, format!("signal=SIGKILL:when={n}")),
            Self::SyncFails(n) => (SYNCS, format!("error=EIO:when={n}+")),
            Self::WriteFails(n) => ("pwrite64", format!("error=EIO:when={n}+")),
            Self::Full(from, to) => ("pwrite64", format!("error=ENOSPC:when={from}..{to}")),
            Self::Slow(by) => (SYNCS, format!("delay_enter={}", by.as_micros())),
        };
        // With -D the service is our child, and strace goes with it.
        let words = ["strace", "-D", "-f", "-y", "-s", "0", "-e", "signal=none", "-e"];
        let mut words: Vec<String> = words.map(str::to_owned).into();
        words.extend([format!("trace={SYNCS},pwrite64"), "-e".to_owned(), format!("inject={calls}:{what}")]);
        words.extend(["-o".to_owned(), trace.display().to_string()]);
        words
    }
}

impl Load {
    /// A life under load that ends with SIGKILL at the Nth sync.
    pub(crate) fn killed_at_sync(&mut self, n: u32) -> Result<()> {
        self.start_under(&Fault::KillAtSync(n).wrapper(&self.trace()), |_| {})?;
        let ended = self.dies(PATIENCE)?;
        ensure!(ended.status.signal() == Some(SIGKILL), "it was not killed at sync {n}: {}", ended.status);
        Ok(())
    }

    /// A life that ends by itself because its disk fails: with the code that says so, and without asking the disk a second time.
    pub(crate) fn fails(&mut self, fault: Fault) -> Result<()> {
        let trace = self.trace();
        self.start_under(&fault.wrapper(&trace), |_| {})?;
        let ended = self.dies(PATIENCE)?;
        ensure!(ended.status.code() == Some(FATAL), "{fault:?} ended it with {}: {}", ended.status, self.home().log());
        let text = fs::read_to_string(&trace).context("there is no trace")?;
        let injected = text.lines().filter(|line| line.contains("(INJECTED)")).count();
        ensure!(injected > 0, "{fault:?} was never injected");
        if let Some(after) = synced_after_a_failure(&text) {
            bail!("{fault:?}: the disk was asked again after it had failed: {after}");
        }
        Ok(())
    }

    /// A life in which the disk is full for a while: that is said, nothing is done then, and afterwards it goes on by itself. Ends with a kill.
    pub(crate) fn fills_up(&mut self, from: u32, writes: u32) -> Result<Vec<String>> {
        let trace = self.trace();
        self.start_under(&Fault::Full(from, from + writes - 1).wrapper(&trace), |_| {})?;
        until("an end of the full disk", || Ok(count(&trace, "(INJECTED)")? >= writes as usize))?;
        let mut damage = self.settle(false)?;
        let told_before: u64 = self.counts().values().sum();
        ensure!(self.put_off().keys().any(|what| what.ends_with("disk-full")), "nobody was told: {:?}", self.put_off());
        self.go_on()?;
        let syncs = count(&trace, "fdatasync(")?;
        until("more commits", || Ok(count(&trace, "fdatasync(")? > syncs + 20))?;
        damage.extend(self.settle(false)?);
        ensure!(
            self.counts().values().sum::<u64>() > told_before,
            "nothing was acknowledged after there was room again"
        );
        // Its own log tells of what could not be written.
        damage.extend(self.kill_in_trouble()?);
        Ok(damage)
    }

    /// A life on a disk whose syncs take long. Ends with a kill.
    pub(crate) fn crawls(&mut self, by: Duration, syncs: usize) -> Result<()> {
        let trace = self.trace();
        let told_before: u64 = self.counts().values().sum();
        self.start_under(&Fault::Slow(by).wrapper(&trace), |_| {})?;
        until("slow syncs", || Ok(count(&trace, "fdatasync(")? >= syncs))?;
        self.kill()?;
        ensure!(self.counts().values().sum::<u64>() > told_before, "nothing was acknowledged on the slow disk");
        Ok(())
    }

    fn trace(&self) -> PathBuf {
        self.home().dir().join("trace.txt")
    }
}

fn count(trace: &Path, what: &str) -> Result<usize> {
    Ok(fs::read_to_string(trace)?.matches(what).count())
}

/// Looks again and again.
pub(super) fn until(what: &str, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !look()? {
        ensure!(begun.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A sync that came after a call on the same file, or on its neighbour, had failed: what it would say of the pages before is worth nothing.
fn synced_after_a_failure(trace: &str) -> Option<&str> {
    let mut lines = trace.lines().skip_while(|line| !line.contains("(INJECTED)"));
    lines.next()?;
    lines.find(|line| line.contains("sync(") && line.contains("countersign.db"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_after_a_failure_is_seen() {
        let failed = "8 fdatasync(4</d/countersign.db-wal>) = -1 EIO (Input/output error) (INJECTED)";
        let again = "8 fdatasync(4</d/countersign.db-wal>) = 0";
        let other = "9 fsync(5</d>) = 0";
        assert_eq!(synced_after_a_failure(&[again, failed, other].join("\n")), None);
        assert_eq!(synced_after_a_failure(&[failed, other, again].join("\n")), Some(again));
    }
}
