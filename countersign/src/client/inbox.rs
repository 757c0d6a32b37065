//! `inbox`.

use std::process::ExitCode;

use super::session::Context;
use super::wire::View;
use super::{output, review, surroundings, words};
use crate::cli::InboxArgs;

pub(super) async fn inbox(context: &Context, args: &InboxArgs) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let path = if args.mine { "requests" } else { "inbox" };
    let listed = client.list::<View>(path, &args.list).await?;
    listed.tell(&args.list);
    let items = listed.items;
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
