//! The service as a victim.

use std::process::Child;

use anyhow::Result;

use super::crash::Victim;
use super::server::Server;
use crate::{run, tools};

/// Every so many rounds all that was ever acknowledged is looked at, not only what is new.
const ALL_EVERY: u32 = 50;

#[derive(Debug)]
pub(crate) struct Service {
    server: Server,
    rounds: u32,
    round: u32,
}

impl Service {
    pub(crate) fn new(rounds: u32) -> Result<Self> {
        tools::install(tools::TESTS)?;
        run::check(&mut run::command("cargo", &["build", "--release", "--package", "countersign"]))?;
        let binary = run::target().join("release").join("countersign");
        Ok(Self { server: Server::new(&binary, &run::target())?, rounds, round: 0 })
    }
}

impl Victim for Service {
    fn start(&mut self) -> Result<Child> {
        self.server.start()
    }

    fn damage(&mut self) -> Result<Vec<String>> {
        self.round += 1;
        self.server.damage(self.round == self.rounds || self.round.is_multiple_of(ALL_EVERY))
    }

    fn acknowledged(&self) -> u64 {
        self.server.counts().values().sum()
    }

    fn report(&self) -> Option<String> {
        Some(self.server.report())
    }
}
