//! PostgreSQL as a yardstick: how many durable transactions of the same two statements it does with 64 connections.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

/// One row updated under its version, one row added: what an approval changes.
const SCRIPT: &str = "\\set id random(1, 100000)\n\
    BEGIN;\n\
    UPDATE request SET version = version + 1, state = repeat('x', 1000) WHERE id = :id AND version >= 0;\n\
    INSERT INTO approval (request, person, at) VALUES (:id, :client_id, now());\n\
    COMMIT;\n";
const SCHEMA: &str = "CREATE TABLE request (id bigint PRIMARY KEY, version bigint, state text);\
    CREATE TABLE approval (request bigint, person bigint, at timestamptz);\
    INSERT INTO request SELECT n, 1, repeat('x', 1000) FROM generate_series(1, 100000) n;";
const SECONDS: u32 = 5;

/// A server of its own, on a socket in a temporary folder; it ends with this value.
#[derive(Debug)]
pub(crate) struct Postgres {
    dir: tempfile::TempDir,
    programs: PathBuf,
}

impl Postgres {
    pub(crate) fn start() -> Result<Self> {
        let programs = programs()?;
        // Not in the target folder: PostgreSQL does not run as root, and its user may not reach that.
        let dir = tempfile::Builder::new().prefix("countersign-bench-").tempdir_in("/tmp")?;
        let script = dir.path().join("script.sql");
        std::fs::write(&script, SCRIPT)?;
        if is_root()? {
            run::check(&mut run::command("chown", &["-R", "postgres", &dir.path().display().to_string()]))?;
        }
        let postgres = Self { dir, programs };
        let (data, socket) = (postgres.data(), postgres.socket());
        run::capture(&mut postgres.command("initdb", &["-D", &data, "-A", "trust", "-U", "bench"])?)?;
        let options = format!("-k {socket} -c listen_addresses= -c synchronous_commit=on -c max_connections=100");
        let log = postgres.dir.path().join("log").display().to_string();
        run::check(&mut postgres.command("pg_ctl", &["-D", &data, "-o", &options, "-l", &log, "-w", "start"])?)?;
        run::capture(&mut postgres.command("psql", &["-h", &socket, "-U", "bench", "-d", "postgres", "-qc", SCHEMA])?)?;
        Ok(postgres)
    }

    pub(crate) fn transactions_per_second(&self, clients: u32) -> Result<f64> {
        let (socket, script) = (self.socket(), self.dir.path().join("script.sql").display().to_string());
        let (clients, seconds) = (clients.to_string(), SECONDS.to_string());
        let args =
            ["-h", &socket, "-U", "bench", "-n", "-c", &clients, "-j", "2", "-T", &seconds, "-f", &script, "postgres"];
        let text = run::capture(&mut self.command("pgbench", &args)?)?;
        read(&text)
    }

    fn data(&self) -> String {
        self.dir.path().join("data").display().to_string()
    }

    fn socket(&self) -> String {
        self.dir.path().display().to_string()
    }

    /// As the user `postgres` where we are root.
    fn command(&self, program: &str, args: &[&str]) -> Result<Command> {
        let program = self.programs.join(program).display().to_string();
        let mut command = if is_root()? {
            let mut all = vec!["-u", "postgres", "--", &program];
            all.extend(args);
            run::command("runuser", &all)
        } else {
            run::command(&program, args)
        };
        command.current_dir(self.dir.path());
        Ok(command)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Ok(mut stop) = self.command("pg_ctl", &["-D", &self.data(), "-m", "immediate", "stop"]) {
            // An error means that it has ended already.
            let _ = run::capture(&mut stop);
        }
    }
}

/// Debian keeps the server's programs in a folder for each version, off PATH.
fn programs() -> Result<PathBuf> {
    let root = Path::new("/usr/lib/postgresql");
    let versions = std::fs::read_dir(root).context("PostgreSQL is not installed; run without --no-install")?;
    let mut found: Vec<PathBuf> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().context("there is no initdb below /usr/lib/postgresql")
}

fn is_root() -> Result<bool> {
    Ok(run::capture(&mut run::command("id", &["-u"]))?.trim() == "0")
}

fn read(text: &str) -> Result<f64> {
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next());
    match rate {
        Some(rate) => Ok(rate.parse()?),
        None => bail!("pgbench printed no rate: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_found() {
        let text = "number of failed transactions: 0 (0.000%)\ntps = 5123.456789 (without initial connection time)\n";
        assert!((read(text).unwrap() - 5_123.456_789).abs() < f64::EPSILON);
        assert!(read("tps:").is_err());
    }
}
