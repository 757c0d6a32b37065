//! The log as a client sees it: its key, its newest checkpoint, and the walk over all of it.
//!
//! A server that cuts or rewrites its log can sign the result. It cannot take back the checkpoint that a client kept, so a newer checkpoint is
//! kept only if it provably continues the older one; one that does not is kept aside as evidence.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use countersign_ledger::{
    BundleId, Intact, KnownCheckpoint, LogWalker, SignedCheckpoint, TILE_WIDTH, TileId, TileMap, VerifierKey,
    consistency_tiles, decode_bundle, prove_consistency, verify_consistency,
};

use super::home::Home;
use super::http::{ApiError, Client};
use super::session::Context;
use super::{output, words};
use crate::exit::Failure;

/// The key of a server's log that was pinned at login.
pub(super) fn pinned_of(home: &Home, server: &str) -> anyhow::Result<Option<VerifierKey>> {
    let keys = home.log_keys()?;
    let key = keys.get(server).and_then(|keys| keys.last());
    key.map(|key| key.vkey.parse().context("the pinned log key is damaged")).transpose()
}

/// Takes the newest checkpoint home. A server that cannot be asked is passed over; a log that contradicts itself is told loudly.
pub(super) async fn remember(home: &Home, client: &Client) {
    if let Err(error) = take_home(home, client).await
        && error.downcast_ref::<ApiError>().is_none()
    {
        output::note(&format!("warning: {}", words::visible(&format!("{error:#}"))));
    }
}

async fn take_home(home: &Home, client: &Client) -> anyhow::Result<()> {
    let Some(key) = pinned_of(home, &client.server())? else { return Ok(()) };
    let Some(new) = served(client, &key).await? else { return Ok(()) };
    let origin = &new.checkpoint().origin;
    let Some(kept) = home.checkpoints()?.remove(origin) else {
        return home.keep_checkpoint(origin, new.text());
    };
    let kept = SignedCheckpoint::open(&kept, &key).context("the kept checkpoint is damaged")?;
    if new.head() == kept.head() {
        return Ok(());
    }
    if new.head().size > kept.head().size {
        let Some(tiles) = fetch_tiles(client, consistency_tiles(new.head().size, kept.head().size)?).await else {
            return Ok(());
        };
        let proof = prove_consistency(new.head(), kept.head().size, &tiles);
        if proof.is_ok_and(|proof| verify_consistency(&proof, kept.head(), new.head()).is_ok()) {
            return home.keep_checkpoint(origin, new.text());
        }
    }
    let evidence = home.keep_evidence(&format!("conflict-{}-{}.txt", new.head().size, key.kid()), new.text())?;
    Err(anyhow::anyhow!(
        "the log of {} does not continue what it signed before ({} entries, now {}): it was cut or rewritten; both checkpoints are kept, \
         the new one in {}",
        client.server(),
        kept.head().size,
        new.head().size,
        evidence.display()
    ))
}

pub(super) async fn checkpoint(context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.stranger()?;
    let note = note(&client)
        .await?
        .ok_or_else(|| Failure::new("the log has signed nothing yet").hint("try again in a second"))?;
    if let Some(key) = pinned_of(&context.home, &client.server())? {
        SignedCheckpoint::open(&note, &key)?;
    } else {
        output::note("note: no key of this log is pinned, so its signature was not checked");
    }
    if context.json() {
        output::json(&serde_json::json!({"checkpoint": note}))?;
    } else {
        output::line(note.trim_end_matches('\n'));
    }
    Ok(ExitCode::SUCCESS)
}

/// Walks the whole log of a running server against its tiles, the checkpoint it serves, those on the command line, and the one kept here.
pub(super) async fn verify(context: &Context, files: &[PathBuf], log_key: Option<&str>) -> anyhow::Result<ExitCode> {
    let client = context.stranger()?;
    let key = match log_key {
        Some(key) => key.parse().context("--log-key")?,
        None => pinned_of(&context.home, &client.server())?
            .ok_or_else(|| Failure::new("no key of this log is known").hint("log in first, or give --log-key VKEY"))?,
    };
    let served = served(&client, &key).await?;
    let served = served.ok_or_else(|| Failure::new("the log has signed nothing yet").hint("try again in a second"))?;
    let size = served.head().size;
    let mut known = vec![KnownCheckpoint { kept_by: "served by the log".to_owned(), text: served.text().to_owned() }];
    if let Some(kept) = context.home.checkpoints()?.remove(key.name()) {
        known.push(KnownCheckpoint { kept_by: "kept by this client".to_owned(), text: kept });
    }
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| format!("{} does not read", file.display()))?;
        known.push(KnownCheckpoint { kept_by: format!("in {}", file.display()), text });
    }
    let intact = walk(&client, &key, size, &known).await?;
    remember(&context.home, &client).await;
    if context.json() {
        output::json(&serde_json::json!({
            "intact": true, "origin": key.name(), "size": intact.head.size, "root": intact.head.root.to_string(),
            "checkpoints": intact.checkpoints,
        }))?;
    } else {
        output::line(&format!(
            "intact: {} entries of {}, in agreement with {} checkpoints",
            intact.head.size,
            words::visible(key.name()),
            intact.checkpoints
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn walk(client: &Client, key: &VerifierKey, size: u64, known: &[KnownCheckpoint]) -> anyhow::Result<Intact> {
    let tiles = all_tiles(size);
    let wanted = tiles.len();
    let tiles = fetch_tiles(client, tiles)
        .await
        .ok_or_else(|| Failure::new(format!("the log's {wanted} tiles could not all be fetched")))?;
    let mut walker = LogWalker::new(key, &tiles, known)?;
    let mut row = 0;
    for bundle in bundles(size) {
        // A log that grew meanwhile serves more; what was signed is what counts.
        for entry in fetch_bundle(client, bundle).await?.iter().take(usize::from(bundle.width)) {
            walker.row(row, entry)?;
            row += 1;
        }
    }
    Ok(walker.finish()?)
}

/// The signed checkpoint that the server shows; `None` while there is none.
async fn served(client: &Client, key: &VerifierKey) -> anyhow::Result<Option<SignedCheckpoint>> {
    let Some(note) = note(client).await? else { return Ok(None) };
    let signed = SignedCheckpoint::open(&note, key)
        .with_context(|| format!("the checkpoint of {} is not of the log that was pinned at login", client.server()))?;
    Ok(Some(signed))
}

async fn note(client: &Client) -> anyhow::Result<Option<String>> {
    let Some(note) = client.ledger("checkpoint").await? else { return Ok(None) };
    Ok(Some(String::from_utf8(note).context("the checkpoint is not text")?))
}

/// `None` if one of them is not there.
async fn fetch_tiles(client: &Client, wanted: Vec<TileId>) -> Option<TileMap> {
    let mut map = TileMap::default();
    for tile in wanted {
        let full = TileId { width: TILE_WIDTH, ..tile };
        let (id, bytes) = match client.ledger(&tile.path()).await.ok()? {
            Some(bytes) => (tile, bytes),
            // A log may drop the narrow version as soon as it has the full one.
            None => (full, client.ledger(&full.path()).await.ok()??),
        };
        map.insert(id, bytes);
    }
    Some(map)
}

async fn fetch_bundle(client: &Client, wanted: BundleId) -> anyhow::Result<Vec<Vec<u8>>> {
    let full = BundleId { width: TILE_WIDTH, ..wanted };
    let bytes = match client.ledger(&wanted.path()).await? {
        Some(bytes) => bytes,
        None => client.ledger(&full.path()).await?.ok_or_else(|| {
            Failure::new(format!(
                "the log does not serve {}: rows from {} on are missing",
                wanted.path(),
                wanted.entries().start
            ))
        })?,
    };
    decode_bundle(&bytes).with_context(|| format!("{} is damaged", wanted.path()))
}

/// Every tile of a tree of this size: 32 bytes for an entry, and a 256th of that for each level above.
fn all_tiles(size: u64) -> Vec<TileId> {
    let mut tiles = Vec::new();
    let mut hashes = size;
    for level in 0..8 {
        tiles.extend(parts(hashes).map(|(index, width)| TileId { level, index, width }));
        hashes /= u64::from(TILE_WIDTH);
    }
    tiles
}

fn bundles(size: u64) -> impl Iterator<Item = BundleId> {
    parts(size).map(|(index, width)| BundleId { index, width })
}

/// Full parts of 256, and one for the rest.
fn parts(count: u64) -> impl Iterator<Item = (u64, u16)> {
    let (full, rest) = (count / u64::from(TILE_WIDTH), count % u64::from(TILE_WIDTH));
    let rest = u16::try_from(rest).ok().filter(|rest| *rest > 0).map(|rest| (full, rest));
    (0..full).map(|index| (index, TILE_WIDTH)).chain(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_is_asked_for_once() {
        let paths = |size| all_tiles(size).into_iter().map(TileId::path).collect::<Vec<_>>();
        assert_eq!(paths(0), [""; 0]);
        assert_eq!(paths(5), ["tile/0/000.p/5"]);
        assert_eq!(paths(256), ["tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(paths(600), ["tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"]);
        assert_eq!(bundles(300).map(BundleId::path).collect::<Vec<_>>(), ["tile/entries/000", "tile/entries/001.p/44"]);
    }
}
