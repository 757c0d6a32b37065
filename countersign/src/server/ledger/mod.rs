//! `ledger verify --dir`: the walk over a log where it lies, without the service and without its keys. What it reads is held against the tree, the
//! tree against every checkpoint at hand, and what the service decides by against the log.

mod answers;
mod epoch;
mod erasures;
mod link;
mod releases;
mod requests;
mod told;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use countersign_ledger::{KnownCheckpoint, VerifierKey, log_origin};
use countersign_store::{EpochRow, Epochs, MetaGet, SigningKeys, Store, StoreError};
use serde::Serialize;
use tokio::runtime::Handle;

use super::config::{self, Config, Database, Overrides};
use super::{files, wiring};
use crate::cli::LedgerVerifyArgs;
use crate::client::output;
use crate::exit::Failure;
use epoch::Walked;
use erasures::Erasures;

/// The engine's name for the log's name, and for what the log's keys are for.
const META_NAME: &str = "name";
const PURPOSE_LOG: &str = "log";

/// What was found to hold.
#[derive(Debug, Serialize)]
pub(super) struct Agreed {
    intact: bool,
    /// It was restored, or found to be old, and nobody has accepted that yet.
    pub(super) stopped: bool,
    pub(super) epochs: Vec<Walked>,
    pub(super) requests: u64,
}

pub(crate) async fn ledger_verify(args: LedgerVerifyArgs) -> anyhow::Result<ExitCode> {
    let LedgerVerifyArgs { dir, checkpoints, log_key, json } = args;
    let kept = checkpoints.into_iter().map(|file| Kept::read(&file)).collect::<anyhow::Result<Vec<_>>>()?;
    let log_key = log_key.map(|key| key.parse::<VerifierKey>()).transpose()?;
    let store = open(&dir).await?;
    // The walk asks for tiles from within; it has a thread of its own, so that waiting for them blocks nobody.
    let handle = Handle::current();
    let found = tokio::task::spawn_blocking(move || verify(&Rows { store, handle }, &kept, log_key.as_ref())).await?;
    match found {
        Ok(intact) => {
            if json {
                output::json(&intact)?;
            } else {
                intact.epochs.iter().for_each(|epoch| output::line(&epoch.to_string()));
                output::line(&format!("{} requests agree with the log", intact.requests));
                if intact.stopped {
                    output::line(
                        "this database is marked as restored: `countersign restore accept` begins the next epoch",
                    );
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(Finding::Broken(what)) => {
            if json {
                output::json(&serde_json::json!({ "intact": false, "first_break": what }))?;
            }
            Err(Failure::new(format!("the ledger does not hold: {what}")).into())
        }
        Err(Finding::Store(error)) => Err(error.into()),
    }
}

/// Walks a database of which only this process knows, like a backup.
pub(super) async fn walk(store: Store) -> anyhow::Result<Agreed> {
    let handle = Handle::current();
    match tokio::task::spawn_blocking(move || verify(&Rows { store, handle }, &[], None)).await? {
        Ok(agreed) => Ok(agreed),
        Err(Finding::Broken(what)) => Err(Failure::new(format!("its ledger does not hold: {what}")).into()),
        Err(Finding::Store(error)) => Err(error.into()),
    }
}

/// Why a walk ended early.
#[derive(Debug)]
enum Finding {
    /// The first break, in words.
    Broken(String),
    Store(StoreError),
}

impl From<StoreError> for Finding {
    fn from(error: StoreError) -> Self {
        match error {
            // A row that does not read is a row that somebody wrote.
            StoreError::Corrupt(why) => Self::Broken(format!("a row is not one that the service writes: {why}")),
            other => Self::Store(other),
        }
    }
}

/// A checkpoint that somebody kept.
#[derive(Debug)]
struct Kept {
    file: PathBuf,
    text: String,
}

impl Kept {
    fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).map_err(|error| files::cannot("read", file, &error))?;
        Ok(Self { file: file.to_owned(), text })
    }

    /// Whether it names this log; what it says is worth nothing before its signature is looked at.
    fn is_of(&self, origin: &str) -> bool {
        self.text.lines().next() == Some(origin)
    }
}

/// The store, for code that waits.
#[derive(Debug)]
struct Rows {
    store: Store,
    handle: Handle,
}

impl Rows {
    fn load<Q: countersign_store::Load>(&self, query: Q) -> Result<Q::Out, StoreError> {
        self.handle.block_on(self.store.load(query))
    }
}

async fn open(dir: &Path) -> anyhow::Result<Store> {
    let file = dir.join(config::FILE);
    let database = if file.exists() {
        Config::load(&file, &Overrides::default())?.database
    } else {
        Database::Sqlite(dir.join(config::DATABASE))
    };
    if let Some(file) = database.file().filter(|file| !file.exists()) {
        let hint = "name the folder of a server or of a demo";
        return Err(Failure::new(format!("there is no database at {}", file.display())).hint(hint).into());
    }
    let hint = "a server that runs is asked without --dir: `countersign ledger verify --server URL`";
    wiring::open_database(&database).await.map_err(|error| {
        let in_use = error.to_string().contains("in use");
        if in_use { Failure::new(error.to_string()).hint(hint).into() } else { error }
    })
}

fn verify(database: &Rows, kept: &[Kept], log_key: Option<&VerifierKey>) -> Result<Agreed, Finding> {
    let broken = |what: &str| Finding::Broken(what.to_owned());
    let name = database.load(MetaGet(META_NAME.to_owned()))?.ok_or_else(|| broken("the database was never set up"))?;
    let name = String::from_utf8(name).map_err(|_| broken("the log's name is not text"))?;
    let logs = database.load(Epochs)?;
    if logs.is_empty() {
        return Err(broken("there is no log"));
    }
    let rows = database.load(SigningKeys)?;
    let mut keys = Vec::new();
    for EpochRow { epoch, .. } in &logs {
        let epoch = *epoch;
        let row = rows.iter().find(|row| row.purpose == PURPOSE_LOG && row.epoch == epoch);
        let public = row.and_then(|row| <&[u8; 32]>::try_from(row.public.as_slice()).ok());
        let public = public.ok_or_else(|| Finding::Broken(format!("epoch {epoch} has no key")))?;
        let key = log_origin(&name, epoch).and_then(|origin| VerifierKey::from_ed25519(&origin, public));
        keys.push((epoch, key.map_err(|error| Finding::Broken(format!("the key of epoch {epoch}: {error}")))?));
    }
    // Whoever rewrote everything, keys included, is told by a key that was kept elsewhere.
    if let Some(expected) = log_key
        && !keys.iter().any(|(_, key)| key == expected)
    {
        let own = keys.last().map(|(_, key)| key.to_string()).unwrap_or_default();
        return Err(Finding::Broken(format!("the log is signed with {own}, not with {expected}")));
    }
    if let Some(foreign) = kept.iter().find(|kept| !keys.iter().any(|(_, key)| kept.is_of(key.name()))) {
        return Err(Finding::Broken(format!("{} is not a checkpoint of this log, {name}", foreign.file.display())));
    }
    let mut epochs = Vec::new();
    let mut erasures = Erasures::default();
    for (at, (epoch, key)) in keys.iter().enumerate() {
        let after = keys.get(at + 1).map(|(after, _)| link::of(database, *after)).transpose()?;
        let own = kept.iter().filter(|kept| kept.is_of(key.name()));
        let own = own.map(|kept| KnownCheckpoint {
            kept_by: format!("kept in {}", kept.file.display()),
            text: kept.text.clone(),
        });
        let own = match &after {
            Some(after) => link::still_held(after, own.collect()),
            None => own.collect(),
        };
        let mut walked = epoch::walk(database, *epoch, key, own, &mut erasures)?;
        if let Some(after) = &after {
            link::check(after, key, &mut walked)?;
        }
        epochs.push(walked);
    }
    erasures.account_for_all().map_err(Finding::Broken)?;
    let requests = requests::check(database, &erasures)?;
    Ok(Agreed { intact: true, stopped: logs.last().is_some_and(|log| log.closed), epochs, requests })
}

#[cfg(test)]
mod tests;
