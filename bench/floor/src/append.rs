//! A bare append and fdatasync for each record: what durability costs on this disk in this minute.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

const FILE: &str = "append.log";
/// A record starts with its number, so that a reader can tell which ones survived.
const NUMBER: usize = size_of::<u64>();

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder on the file system to measure
    #[arg(long)]
    dir: PathBuf,
    /// Records to append
    #[arg(long, default_value_t = 1000)]
    count: u64,
    /// Size of a record
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Go on after the records that are there, and print the number of each record once it is durable
    #[arg(long)]
    acknowledge: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(args.bytes >= NUMBER, "a record holds at least {NUMBER} bytes");
    let path = args.dir.join(FILE);
    if args.acknowledge {
        let (file, first) = reopen(&path, args.bytes)?;
        return append(file, args.bytes, first..first + args.count, |number, _| {
            println!("{number}");
        });
    }
    let file = File::create(&path).with_context(|| format!("could not create {}", path.display()))?;
    let mut micros = Vec::new();
    append(file, args.bytes, 0..args.count, |_, took| micros.push(took))?;
    println!("{}", json!({ "bench": "append", "bytes": args.bytes, "micros": micros }));
    Ok(())
}

/// Opens behind the last whole record; half of one, which a crash can leave, is cut off.
fn reopen(path: &Path, bytes: usize) -> Result<(File, u64)> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("could not open {}", path.display()))?;
    let record = bytes as u64;
    let whole = file.metadata()?.len() / record;
    file.set_len(whole * record)?;
    file.seek(SeekFrom::End(0))?;
    Ok((file, whole))
}

fn append(
    mut file: File,
    bytes: usize,
    numbers: std::ops::Range<u64>,
    mut durable: impl FnMut(u64, f64),
) -> Result<()> {
    let mut record = vec![0x5a; bytes];
    for number in numbers {
        record[..NUMBER].copy_from_slice(&number.to_le_bytes());
        let start = Instant::now();
        file.write_all(&record)?;
        file.sync_data()?;
        durable(number, start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_go_on_behind_the_last_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let (file, first) = reopen(&path, 16).unwrap();
        append(file, 16, first..first + 3, |_, _| ()).unwrap();
        let torn = std::fs::read(&path).unwrap()[..40].to_vec();
        std::fs::write(&path, torn).unwrap();

        let (file, first) = reopen(&path, 16).unwrap();
        assert_eq!(first, 2);
        let mut seen = Vec::new();
        append(file, 16, first..first + 2, |number, _| seen.push(number)).unwrap();
        assert_eq!(seen, [2, 3]);
        let bytes = std::fs::read(&path).unwrap();
        let numbers: Vec<u8> = bytes.chunks(16).map(|record| record[0]).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
    }
}
