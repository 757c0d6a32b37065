//! The data folder with much in it. Filling it takes minutes, so it is kept for as long as the schema stays what it is; each run works on a copy.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::run;

/// Raise it when what is filled in changes.
const CONTENT: u32 = 1;
pub(crate) const TOKENS: u32 = 100_000;
pub(crate) const ENTRIES: u32 = 1_000_000;

/// The filled folder below the target folder; made if there is none of this schema. `fresh` makes it again.
pub(crate) fn folder(service: &Path, seeder: &Path, fresh: bool) -> Result<PathBuf> {
    let cache = run::target().join("bench-footprint");
    let folder = cache.join(key()?);
    if fresh && folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    if folder.exists() {
        eprintln!("using {}", folder.display());
        return Ok(folder);
    }
    // One of an older schema is of no use any more, and large.
    if cache.exists() {
        fs::remove_dir_all(&cache)?;
    }
    let unfinished = cache.join("unfinished");
    fs::create_dir_all(&unfinished)?;
    eprintln!("filling {} with {TOKENS} tokens and {ENTRIES} entries; this takes some minutes", folder.display());
    let (tokens, entries) = (TOKENS.to_string(), ENTRIES.to_string());
    let mut seed =
        run::command(&seeder.display().to_string(), &["seed-footprint", "--tokens", &tokens, "--entries", &entries]);
    run::check(seed.arg("--dir").arg(&unfinished))?;
    // The service's own walk over the log: what was filled in is what the service would have written.
    let mut verify = run::command(&service.display().to_string(), &["ledger", "verify", "--dir"]);
    run::check(verify.arg(&unfinished))?;
    fs::rename(&unfinished, &folder)?;
    Ok(folder)
}

/// A copy that a run may change.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (format!("{}/.", from.display()), to.display().to_string());
    run::check(&mut run::command("cp", &["-a", "--reflink=auto", &from, &to]))
}

/// Takes a data folder's files out of the cache of the operating system, so that the next start reads from the disk.
pub(crate) fn forget(folder: &Path) -> Result<()> {
    let data = folder.join("data");
    for file in fs::read_dir(&data).with_context(|| format!("could not read {}", data.display()))? {
        let path = file?.path();
        let name = path.display().to_string();
        // What is not written yet stays in memory whatever is asked for. `dd` reads nothing here; it passes the advice on.
        run::capture(&mut run::command("sync", &[&name]))?;
        run::capture(&mut run::command("dd", &[&format!("if={name}"), "iflag=nocache", "count=0", "status=none"]))?;
    }
    Ok(())
}

/// Another schema gives another key.
fn key() -> Result<String> {
    let migrations = run::root().join("crates/store/migrations");
    let mut files: Vec<PathBuf> = fs::read_dir(&migrations)
        .with_context(|| format!("could not read {}", migrations.display()))?
        .map(|file| Ok(file?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    if files.is_empty() {
        bail!("there are no migrations in {}", migrations.display());
    }
    let mut hasher = DefaultHasher::new();
    (CONTENT, TOKENS, ENTRIES).hash(&mut hasher);
    for file in files {
        fs::read(&file)?.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}
