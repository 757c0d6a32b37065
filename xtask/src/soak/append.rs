//! The append yardstick as a victim: the simplest program that keeps its word, to try the harness on.

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use tempfile::TempDir;

use super::crash::Victim;
use crate::bench::floor::Floor;
use crate::run;

const RECORD: u32 = 256;

#[derive(Debug)]
pub(crate) struct AppendLoop {
    floor: Floor,
    dir: TempDir,
    /// Records that were called durable, in all rounds.
    acknowledged: u64,
    reader: Option<JoinHandle<Option<u64>>>,
}

impl AppendLoop {
    pub(crate) fn new() -> Result<Self> {
        let floor = Floor::build()?;
        let dir = tempfile::tempdir_in(run::target()).context("could not make a folder")?;
        Ok(Self { floor, dir, acknowledged: 0, reader: None })
    }
}

impl Victim for AppendLoop {
    fn start(&mut self) -> Result<Child> {
        let mut child = self.floor.acknowledged_appends(self.dir.path(), RECORD)?;
        let stdout = child.stdout.take().context("the append loop has no output")?;
        self.reader = Some(std::thread::spawn(move || last_number(BufReader::new(stdout))));
        Ok(child)
    }

    fn damage(&mut self) -> Result<Vec<String>> {
        if let Some(reader) = self.reader.take() {
            let last = reader.join().map_err(|_| anyhow!("the reader of acknowledgements ended early"))?;
            self.acknowledged = last.map_or(self.acknowledged, |last| last + 1);
        }
        let path = self.dir.path().join("append.log");
        // A kill can come before the first record.
        let bytes = if path.exists() { std::fs::read(path)? } else { Vec::new() };
        Ok(missing(&bytes, RECORD as usize, self.acknowledged))
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged
    }
}

/// The last whole line; a kill may cut the one behind it.
fn last_number(lines: impl BufRead) -> Option<u64> {
    let mut last = None;
    for line in lines.split(b'\n').map_while(Result::ok) {
        last = std::str::from_utf8(&line).ok().and_then(|line| line.parse().ok()).or(last);
    }
    last
}

/// Each record must carry its own number, and there must be as many as were acknowledged.
fn missing(bytes: &[u8], record: usize, acknowledged: u64) -> Vec<String> {
    let mut damage = Vec::new();
    let mut whole = 0;
    for (number, chunk) in (0_u64..).zip(bytes.chunks_exact(record)) {
        if !chunk.starts_with(&number.to_le_bytes()) {
            damage.push(format!("record {number} does not carry its number"));
        }
        whole = number + 1;
    }
    if whole < acknowledged {
        damage.push(format!("{acknowledged} records were acknowledged, {whole} are there"));
    }
    damage
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(numbers: &[u64]) -> Vec<u8> {
        let record = |number: &u64| [number.to_le_bytes(), [0x5a; 8]].concat();
        numbers.iter().flat_map(record).collect()
    }

    #[test]
    fn lost_and_changed_records_are_damage() {
        assert_eq!(missing(&records(&[0, 1, 2]), 16, 3), [""; 0]);
        assert_eq!(missing(&records(&[0, 1, 2]), 16, 2), [""; 0]);
        assert_eq!(missing(&records(&[0, 1]), 16, 3), ["3 records were acknowledged, 2 are there"]);
        assert_eq!(missing(&records(&[0, 5, 2]), 16, 3), ["record 1 does not carry its number"]);
        assert_eq!(missing(&records(&[0, 1])[..31], 16, 2).len(), 1);
    }

    #[test]
    fn the_last_number_counts() {
        assert_eq!(last_number("1\n2\n3\n".as_bytes()), Some(3));
        assert_eq!(last_number("".as_bytes()), None);
    }
}
