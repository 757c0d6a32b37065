//! `verify`: what a receipt proves, and what it does not. No server, no network.

mod story;

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::Context as _;
use countersign_ledger::{RECEIPT_LIMIT, Receipt, Trust, VerifierKey};
use serde_json::json;

use super::home::LogKeys;
use super::session::Context;
use super::{output, words};
use crate::cli::VerifyArgs;
use crate::exit::Failure;
use story::Story;

pub(super) fn verify(context: &Context, args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let receipt = Receipt::from_json(&read(args)?)?;
    let pinned = match &args.log_key {
        Some(key) => Some(key.parse().context("--log-key")?),
        None => pinned(&context.home.log_keys()?, &receipt)?,
    };
    let expected = args.request.as_deref().map(str::parse).transpose().context("--request")?;
    let verified = receipt.verify(pinned.as_ref(), expected)?;
    let story = Story::read(&verified)?;
    if args.require_pinned && !verified.is_pinned() {
        return Err(Failure::new(format!("the receipt is consistent, but its log key {} is not pinned", verified.key))
            .hint("log in at its server, or give the key that its operator told you with --log-key")
            .into());
    }
    let signed = match &verified.trust {
        Trust::Pinned => format!("consistent; signed by the pinned log key {}", verified.key),
        Trust::Unknown(key) => format!("consistent; signed by unknown log key {key}"),
    };
    let mut not_proved = story.not_proved;
    if !verified.is_pinned() {
        not_proved.insert(
            0,
            "whose log this is: anybody can make a log with a key of his own and sign all of this".to_owned(),
        );
    }
    if context.json() {
        output::json(&json!({
            "request": verified.request.to_string(),
            "consistent": true,
            "pinned": verified.is_pinned(),
            "log": {
                "origin": verified.checkpoint.origin, "key": verified.key.to_string(), "size": verified.checkpoint.head.size,
            },
            "operation": story.operation,
            "approvals": story.approvals,
            "releases": story.releases,
            "proved": story.proved,
            "not_proved": not_proved,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&format!("receipt of request {}", verified.request));
    output::line(&words::visible(&signed));
    output::line("\nproved:");
    output::lines(story.proved.iter().map(|line| format!("  {line}")));
    output::line("\nnot proved:");
    output::lines(not_proved.iter().map(|line| format!("  {line}")));
    Ok(ExitCode::SUCCESS)
}

/// The newest log of the receipt of which a key is pinned. With any key pinned under that name, another one is a forgery.
pub(super) fn pinned(known: &LogKeys, receipt: &Receipt) -> anyhow::Result<Option<VerifierKey>> {
    for claimed in receipt.log_keys() {
        let mut found = None;
        for key in known.values().flatten().filter(|key| key.origin == claimed.name()) {
            let key: VerifierKey = key.vkey.parse().context("a pinned log key is damaged")?;
            if key == *claimed {
                return Ok(Some(key));
            }
            found = Some(key);
        }
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn read(args: &VerifyArgs) -> anyhow::Result<Vec<u8>> {
    let shown = args.file.display();
    let file = std::fs::File::open(&args.file).with_context(|| format!("{shown} does not open"))?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(RECEIPT_LIMIT).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).with_context(|| format!("{shown} does not read"))?;
    Ok(bytes)
}
