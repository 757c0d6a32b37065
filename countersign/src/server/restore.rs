//! `restore` and `restore accept`: a backup becomes the database, and nobody is served until an operator has said that he knows what that means.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use countersign_engine::{Accepted, Clock as _, Keyring, accept_restored, is_bootstrapped, mark_restored};
use countersign_keys::SystemRandom;
use countersign_store::backup;
use countersign_store::{Store, StoreConfig};
use jiff::Timestamp;
use serde_json::json;

use super::backup::{configuration, failed, look};
use super::clock::SystemClock;
use super::{files, wiring};
use crate::cli::WhereArgs;
use crate::client::output;
use crate::exit::Failure;

/// Far more than any checkpoint has.
const CHECKPOINT_LIMIT: u64 = 4_096;

pub(crate) async fn restore(file: Option<PathBuf>, place: WhereArgs) -> anyhow::Result<ExitCode> {
    let file = file.context("name the file of the backup")?;
    let json = place.json;
    let config = configuration(place)?;
    let master = config.master_key.load().await?;
    let target = config.database.config().map_err(wiring::unopened)?;
    let draft = backup::take(&file, &target).await.map_err(|error| failed(&error))?;
    let looked = look(&draft).await.with_context(|| format!("{} can't be restored", file.display()))?;
    // Marked before it is anybody's database: no crash leaves one that does not know that it is old.
    let copy = StoreConfig::Sqlite { path: draft.path().to_owned() };
    let store = Store::open(&copy).await.map_err(|error| failed(&error))?;
    if !is_bootstrapped(&store).await.map_err(wiring::words)? {
        return Err(Failure::new(format!("{} is of a database that was never set up", file.display())).into());
    }
    let keys = Keyring::open(&store, &master).await.map_err(wiring::words)?;
    if let Some(name) = config.name.as_deref().filter(|name| *name != keys.name()) {
        let what = format!("{}: `name` is {name}, but the backup is of the log {}", config.file.display(), keys.name());
        return Err(Failure::new(what).hint("name the configuration of the server that the backup is of").into());
    }
    mark_restored(&store).await.map_err(wiring::words)?;
    drop(store);
    match &target {
        StoreConfig::Postgres(server) => backup::fill(draft, server).await.map_err(|error| failed(&error))?,
        _ => {
            draft.publish().map_err(|error| failed(&error))?;
        }
    }
    if json {
        output::json(&json!({
            "database": config.database.to_string(), "entries": looked.entries, "checkpoint": looked.checkpoint,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&format!("restored {} entries into {}", looked.entries, config.database));
    output::line("\nNothing is let go yet: everybody is refused until you run");
    output::line("\n  countersign restore accept");
    output::line("\nIf anybody kept a newer checkpoint of this log, give it with --checkpoint FILE.");
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn accept(checkpoint: Option<PathBuf>, place: WhereArgs) -> anyhow::Result<ExitCode> {
    let json = place.json;
    let config = configuration(place)?;
    let shown = checkpoint.as_deref().map(read_checkpoint).transpose()?;
    if let Some(file) = config.database.file().filter(|file| !file.exists()) {
        return Err(Failure::new(format!("there is no database at {}", file.display()))
            .hint("restore one first: countersign restore FILE")
            .into());
    }
    let master = config.master_key.load().await?;
    let store = wiring::open_database(&config.database).await?;
    let now = SystemClock.now();
    let accepted =
        accept_restored(&store, &master, &SystemRandom, now, shown.as_deref()).await.map_err(wiring::words)?;
    if json {
        output::json(&accepted)?;
    } else {
        output::lines(told(&accepted));
    }
    Ok(ExitCode::SUCCESS)
}

/// What was done, and what nobody but an operator can know.
fn told(accepted: &Accepted) -> Vec<String> {
    let as_of = accepted.as_of.and_then(|at| Timestamp::from_microsecond(at.as_micros()).ok());
    let as_of = as_of.map_or_else(|| "the backup".to_owned(), |at| at.to_string());
    let mut lines = vec![format!(
        "{} begins. It continues {}, of which this database holds {} entries.",
        accepted.origin, accepted.previous, accepted.held
    )];
    if accepted.known > accepted.held {
        lines.push(format!(
            "{} more entries are known to have been signed, and are lost here.",
            accepted.known - accepted.held
        ));
    }
    if accepted.stranded > 0 {
        lines.push(format!("{} entries never got a place in it and stay where they are.", accepted.stranded));
    }
    lines.extend([
        String::new(),
        format!("requests cancelled     {}", accepted.requests_cancelled),
        format!("grants ended           {}", accepted.grants_ended),
        format!("releases in doubt      {}", accepted.releases_in_doubt),
        format!("sessions ended         {}", accepted.sessions_ended),
        format!(
            "tokens revoked         {} (which of them had been revoked since is not known here)",
            accepted.tokens_revoked
        ),
        String::new(),
        "No code shown up to now counts any more. Everybody logs in anew, and pins the new key:".to_owned(),
        String::new(),
        format!("  countersign login --accept-log-key '{}'", accepted.vkey),
        String::new(),
        format!("Look at what was changed after {as_of}, because all of that is undone:"),
        "  people who were disabled or removed      countersign user list".to_owned(),
        "  factors that were reset or enrolled      countersign user list".to_owned(),
        "  memberships of groups                    countersign group list".to_owned(),
        "  the policy                               countersign policy show".to_owned(),
        "  releases in doubt                        countersign release close".to_owned(),
        "  tokens that programs need                countersign token create".to_owned(),
    ]);
    lines
}

fn read_checkpoint(file: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(file).map_err(|error| files::cannot("read", file, &error))?.len();
    if size > CHECKPOINT_LIMIT {
        return Err(Failure::new(format!("{} is no checkpoint", file.display())).into());
    }
    std::fs::read_to_string(file).map_err(|error| files::cannot("read", file, &error))
}
