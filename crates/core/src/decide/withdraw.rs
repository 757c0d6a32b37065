//! After a restore nobody knows how requests went on since the backup was made. Whatever could still have an effect ends.

use super::{Ctx, Step};
use crate::canonical::Value;
use crate::changes::{TimerKind, Write};
use crate::entry::EntryKind;
use crate::names::AccountName;
use crate::release::Release;
use crate::request::Request;

/// Ends what is open of a request: it is cancelled while it waits, its live grant ends, and releases that have begun become doubtful. `None` if nothing is.
pub fn withdraw(request: Request, begun: Vec<Release>, by: &AccountName, ctx: &mut Ctx) -> Option<Step> {
    let id = request.id;
    let pending = request.is_pending();
    let live = request.grant().is_some_and(crate::grant::Grant::is_live);
    let mut step = Step::of(request);
    if pending {
        let fields = vec![ctx.field("by", by.to_string())];
        step = step.transition(|request| request.cancel(by.clone(), ctx.now)).ok()?;
        step.entry(ctx, EntryKind::RequestCancelled, Vec::new(), fields);
        step.write(Write::ClearInbox { request: id });
        step.write(Write::ClearTimer { kind: TimerKind::RequestDeadline, subject: id.to_string() });
    }
    if live {
        step = step.transition(|request| request.with_grant(|grant| grant.cut_off(ctx.now))).ok()?;
        step.entry(ctx, EntryKind::GrantEnded, Vec::new(), Vec::new());
        step.write(Write::ClearTimer { kind: TimerKind::GrantEnd, subject: id.to_string() });
    }
    let mut doubted = false;
    for release in begun {
        let Ok(release) = release.lose(ctx.now) else { continue };
        doubted = true;
        let fields = vec![ctx.field("release", release.id.to_string())];
        step.entry(ctx, EntryKind::ReleaseInDoubt, Vec::new(), fields);
        step.write(Write::ClearTimer { kind: TimerKind::ReleaseLease, subject: release.id.to_string() });
        let payload = Value::object([("request", id.to_string()), ("release", release.id.to_string())]);
        let write = ctx.outbox("notice.in_doubt", &payload);
        step.write(write);
        step.write(Write::UpdateRelease(Box::new(release)));
    }
    match (pending || live, doubted) {
        (true, _) => Some(step),
        (false, true) => Some(step.touch()),
        (false, false) => None,
    }
}
