//! `show`: a request, and its receipt as a file.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use countersign_ledger::Receipt;

use super::http::Client;
use super::session::Context;
use super::wire::View;
use super::{home, ledger, output, review, verify};
use crate::cli::ShowArgs;
use crate::exit::Failure;

/// How long a receipt is waited for; the checkpoint takes a fraction of a second.
const PATIENCE: u32 = 60;

pub(super) async fn show(context: &Context, args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    if let Some(file) = &args.receipt {
        return receipt(context, &client, &args.id, file).await;
    }
    let view: View = client.get(&["requests", &args.id], &[]).await?;
    if context.json() {
        output::json(&view)?;
    } else {
        output::lines(review::lines(&view));
        output::lines(review::outcome(&view));
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits for the receipt and keeps it only if it verifies under the key that was pinned at login: what is on disk is what will be believed later.
async fn receipt(context: &Context, client: &Client, id: &str, file: &Path) -> anyhow::Result<ExitCode> {
    let bytes = fetch(client, id).await?;
    let expected = id.parse().context("the request's id")?;
    let receipt = Receipt::from_json(&bytes)?;
    let mut known = context.home.log_keys()?;
    known.retain(|server, _| *server == client.server());
    // A receipt of a log that is none of this server's fails on the key that is pinned for it.
    let pinned = match verify::pinned(&known, &receipt)? {
        Some(pinned) => Some(pinned),
        None => ledger::pinned_of(&context.home, &client.server())?,
    };
    let verified = receipt.verify(pinned.as_ref(), Some(expected))?;
    home::write_whole(file, &bytes, 0o644)?;
    ledger::remember(&context.home, client).await;
    if context.json() {
        output::json(&serde_json::json!({
            "file": file, "request": id, "entries": verified.entries.len(), "pinned": verified.is_pinned(),
        }))?;
    } else {
        output::note(&format!("wrote {}: {} entries, verified", file.display(), verified.entries.len()));
        output::note(&format!("hint: countersign verify {} says what it proves, on any machine", file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

async fn fetch(client: &Client, id: &str) -> anyhow::Result<Vec<u8>> {
    let hold = Duration::from_secs(10);
    let hold_secs = hold.as_secs().to_string();
    let begun = super::surroundings::now();
    loop {
        let error = match client.bytes(&["requests", id, "receipt"], &[("timeout_secs", &hold_secs)]).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => error,
        };
        let waiting = matches!(error.slug(), Some("receipt-not-ready" | "ledger-behind"));
        if !waiting {
            return Err(error.into());
        }
        if super::surroundings::now().duration_since(begun).as_secs() > i64::from(PATIENCE) {
            return Err(Failure::new("the ledger has not signed for this request within a minute")
                .hint("try again later; the entries are safe")
                .into());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
