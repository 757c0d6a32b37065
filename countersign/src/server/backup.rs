//! `backup`: the database as it is at one moment, in a file, while the service runs.

use std::process::ExitCode;

use countersign_store::backup::{self, Draft};
use countersign_store::{LogStanding, Store, StoreError};
use serde_json::json;

use super::config::{self, Config, Database, Overrides};
use super::{ledger, wiring};
use crate::cli::{BackupArgs, WhereArgs};
use crate::client::output;
use crate::exit::Failure;

/// What a file holds, after everything in it was held against everything else.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) entries: u64,
    /// As it is served: the newest that the file holds.
    pub(super) checkpoint: Option<String>,
    pub(super) stopped: bool,
}

pub(crate) async fn backup(args: BackupArgs) -> anyhow::Result<ExitCode> {
    let BackupArgs { file, place } = args;
    let json = place.json;
    let config = configuration(place)?;
    exists(&config.database)?;
    let store = config.database.config().map_err(wiring::unopened)?;
    let draft = backup::backup(&store, &file).await.map_err(|error| failed(&error))?;
    let looked = look(&draft).await?;
    let bytes = draft.publish().map_err(|error| failed(&error))?;
    if json {
        output::json(&json!({
            "file": file, "bytes": bytes, "entries": looked.entries, "checkpoint": looked.checkpoint, "restored": looked.stopped,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&format!("wrote {}: {bytes} bytes, {} entries, verified", file.display(), looked.entries));
    match &looked.checkpoint {
        Some(note) => output::line(&format!("\nIts newest checkpoint:\n\n{}", note.trim_end())),
        None => output::line("It holds no checkpoint yet."),
    }
    if looked.stopped {
        output::line("\nThe database is marked as restored, and so is this backup of it.");
    }
    output::line("\nThe master key is not in it. Keep that elsewhere: who has both has everything.");
    Ok(ExitCode::SUCCESS)
}

/// Reads each page, each row and the whole ledger of a draft.
pub(super) async fn look(draft: &Draft) -> anyhow::Result<Looked> {
    backup::check(draft).await.map_err(|error| failed(&error))?;
    let store = Store::inspect(draft).await.map_err(|error| failed(&error))?;
    let standing = store.load(LogStanding).await.map_err(|error| failed(&error))?;
    let agreed = ledger::walk(store).await?;
    let note = standing.and_then(|standing| standing.checkpoint).map(|row| row.note);
    Ok(Looked {
        entries: agreed.epochs.iter().map(|epoch| epoch.size).sum(),
        checkpoint: note,
        stopped: agreed.stopped,
    })
}

pub(super) fn configuration(place: WhereArgs) -> anyhow::Result<Config> {
    let WhereArgs { config, dir, json: _ } = place;
    let file = config::default_file(config, dir.as_deref());
    Config::load(&file, &Overrides { listen: None, data: dir })
}

fn exists(database: &Database) -> anyhow::Result<()> {
    match database.file() {
        Some(file) if !file.exists() => Err(Failure::new(format!("there is no database at {}", file.display()))
            .hint("name it with --config or --dir")
            .into()),
        _ => Ok(()),
    }
}

/// In words for the operator.
pub(super) fn failed(error: &StoreError) -> anyhow::Error {
    let hint = match error {
        StoreError::Full => "make room on the disk and try again; nothing was left behind",
        StoreError::Newer { .. } => "use the program of the version that the database is of",
        _ => return Failure::new(error.to_string()).into(),
    };
    Failure::new(error.to_string()).hint(hint).into()
}
