//! Deaths between a COMMIT and its answer, and a database that dies beneath a service that lives.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::faults::{PATIENCE, SIGKILL, until};
use super::load::Load;
use super::proxy::{Moment, Then};
use super::running::signal;

impl Load {
    /// A life under load that ends with SIGKILL at its Nth COMMIT: before the server hears of it, or once it has done it and nobody knows.
    pub(crate) fn killed_at_commit(&mut self, n: u32, moment: Moment) -> Result<()> {
        let (seen, victim) = (AtomicU32::new(0), Arc::new(AtomicU32::new(0)));
        let pid = Arc::clone(&victim);
        self.home().postgres()?.proxy().ask(move |now| {
            if now != moment || seen.fetch_add(1, Ordering::SeqCst) + 1 < n {
                return Then::Pass;
            }
            // The first COMMIT may come before anybody has told the number of its process.
            while pid.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            // An error means that it is dead already.
            let _dead = signal(pid.load(Ordering::SeqCst), "KILL");
            Then::Cut
        });
        self.start_under(&[], |number| victim.store(number, Ordering::SeqCst))?;
        let ended = self.dies(PATIENCE);
        self.home().postgres()?.proxy().ask(|_| Then::Pass);
        let status = ended?.status;
        ensure!(status.signal() == Some(SIGKILL), "it was not killed at COMMIT {n}: {status}");
        Ok(())
    }

    /// A life in which the database is killed at these moments, and started again each time: the service comes back by itself, and what it told still
    /// holds. Ends with a kill.
    pub(crate) fn loses_its_database(&mut self, moments: &[Duration]) -> Result<Vec<String>> {
        let mut damage = Vec::new();
        self.start()?;
        for moment in moments {
            self.work(20)?;
            std::thread::sleep(*moment);
            self.home().postgres()?.crash();
            until("a service that comes back by itself", || Ok(self.takes_logins()))?;
            damage.extend(self.settle(false)?);
            self.go_on()?;
        }
        damage.extend(self.kill_in_trouble()?);
        Ok(damage)
    }
}
