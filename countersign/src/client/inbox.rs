//! `inbox`.

use std::process::ExitCode;

use super::session::Context;
use super::wire::{Page, View};
use super::{output, review, surroundings, words};
use crate::cli::InboxArgs;

pub(super) async fn inbox(context: &Context, args: &InboxArgs) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let path = if args.mine { "requests" } else { "inbox" };
    let wanted = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut items: Vec<View> = Vec::new();
    let mut cursor: Option<String> = None;
    while items.len() < wanted {
        let limit = (wanted - items.len()).min(100).to_string();
        let mut query = vec![("limit", limit.as_str())];
        if let Some(cursor) = &cursor {
            query.push(("cursor", cursor));
        }
        let page: Page = client.get(&[path], &query).await?;
        items.extend(page.items);
        // A page may be empty and not the last: what is the caller's own is left out after it was counted.
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    items.truncate(wanted);
    if context.json() {
        output::json(&items)?;
        return Ok(ExitCode::SUCCESS);
    }
    if items.is_empty() {
        output::note(if args.mine { "you have asked for nothing" } else { "nothing waits for your answer" });
        return Ok(ExitCode::SUCCESS);
    }
    let rows = items.iter().map(|view| {
        let last = if args.mine { view.stage.as_str().to_owned() } else { surroundings::clock(view.deadline) };
        vec![view.id.clone(), review::requester(view), words::visible(&view.target), review::short(view), last]
    });
    output::table(&["ID", "FROM", "TARGET", "WHAT", if args.mine { "STAGE" } else { "ENDS" }], rows.collect());
    if !args.mine {
        output::note("hint: countersign approve ID shows one in full before it asks for your code");
    }
    Ok(ExitCode::SUCCESS)
}
