//! `wait`, and the waiting of every other command: one live line, until the request is decided.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::http::{ApiError, Client};
use super::output::LiveLine;
use super::session::Context;
use super::wire::{GrantState, Stage, View};
use super::{ledger, output, review, surroundings, words};
use crate::cli::WaitArgs;
use crate::exit::{self, Failure};

/// The server holds a call this long at most.
const HOLD: Duration = Duration::from_secs(50);
/// A server that restarts is back by then.
const PATIENCE: u32 = 12;

/// How waiting ended.
#[derive(Debug)]
#[must_use]
pub(super) enum Waited {
    /// No longer pending; what it became is in the view.
    Decided(Box<View>),
    /// Ctrl-C: the request stays as it is.
    Interrupted,
}

pub(super) async fn wait(context: &Context, args: &WaitArgs) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let view: View = client.get(&["requests", &args.id], &[]).await?;
    match until_decided(&client, view).await? {
        Waited::Interrupted => Ok(left_pending(&args.id)),
        Waited::Decided(view) => {
            ledger::remember(&context.home, &client).await;
            finish(context, &view)
        }
    }
}

/// Says what the request came to: 0 if it was granted, otherwise the code of its end.
pub(super) fn finish(context: &Context, view: &View) -> anyhow::Result<ExitCode> {
    if context.json() {
        output::json(view)?;
    }
    if let Some(ended) = ended(view) {
        return Err(ended.into());
    }
    if !context.json() {
        for line in review::outcome(view) {
            output::note(&line);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Follows the request until it is no longer pending.
pub(super) async fn until_decided(client: &Client, mut view: View) -> anyhow::Result<Waited> {
    if !view.stage.is_pending() {
        return Ok(Waited::Decided(Box::new(view)));
    }
    let mut line = LiveLine::default();
    // Caught from now on: a Ctrl-C right after the first line must not end this without a word.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut failures = 0;
    while view.stage.is_pending() {
        line.show(&in_one_line(&view));
        let next = tokio::select! {
            next = news(client, &view) => next,
            _ = interrupt.recv() => {
                line.end();
                return Ok(Waited::Interrupted);
            }
        };
        match next {
            Ok(next) => {
                failures = 0;
                view = next;
            }
            Err(error) if error.is_passing() && failures < PATIENCE => {
                failures += 1;
                line.show(&format!("{} · trying again", words::visible(&error.to_string())));
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(u64::from(failures.min(10)))) => {}
                    _ = interrupt.recv() => {
                        line.end();
                        return Ok(Waited::Interrupted);
                    }
                }
            }
            Err(error) => {
                line.end();
                let id = words::visible(&view.id);
                return Err(anyhow::Error::from(error)
                    .context(format!("the request stays pending; see `countersign wait {id}`")));
            }
        }
    }
    line.show(&in_one_line(&view));
    line.end();
    Ok(Waited::Decided(Box::new(view)))
}

/// Waits until a moment of the request's life has come, or it has changed.
pub(super) async fn until(
    client: &Client,
    view: View,
    at: jiff::Timestamp,
    line: &mut LiveLine,
) -> Result<View, ApiError> {
    line.show(&format!("granted · begins at {}", surroundings::clock(at)));
    let left = Duration::try_from(at.duration_since(surroundings::now())).unwrap_or_default();
    tokio::select! {
        // A little later than the moment, because the server's clock decides.
        () = tokio::time::sleep(left + Duration::from_millis(200)) => Ok(view),
        next = news(client, &view) => next,
    }
}

async fn news(client: &Client, view: &View) -> Result<View, ApiError> {
    let (version, hold) = (view.version.to_string(), HOLD.as_secs().to_string());
    let query = [("version", version.as_str()), ("timeout_secs", hold.as_str())];
    let asked = surroundings::now();
    let next: View = client.hold(&["requests", &view.id, "wait"], &query, HOLD).await?;
    // A server that is about to stop answers at once, with nothing new; it must not be asked in circles.
    if next.version == view.version && surroundings::now().duration_since(asked).as_secs() < 1 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(next)
}

/// Why a request gives nothing to run, and the exit code for it; `None` while it may still, or does.
pub(super) fn ended(view: &View) -> Option<Failure> {
    let by = view.ended.as_ref().and_then(|ended| ended.by.as_deref());
    let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
    let why = view.ended.as_ref().and_then(|ended| ended.why.as_deref());
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    let id = &view.id;
    Some(match (view.stage, view.grant.as_ref().map(|grant| grant.state)) {
        // Using up what was granted is what it was for.
        (Stage::Asked | Stage::Challenged, _) | (Stage::Granted, None | Some(GrantState::Live | GrantState::Spent)) => {
            return None;
        }
        (Stage::Denied, _) => Failure::new(format!("request {id} was denied{by}{why}")).code(exit::DENIED),
        (Stage::Expired, _) => {
            Failure::new(format!("request {id} expired: nobody answered in time")).code(exit::EXPIRED).hint("ask again")
        }
        (Stage::Cancelled, _) => Failure::new(format!("request {id} was cancelled{by}")).code(exit::CANCELLED),
        (Stage::Granted, Some(GrantState::Revoked)) => {
            Failure::new(format!("the grant of request {id} was revoked{by}{why}")).code(exit::DENIED)
        }
        (Stage::Granted, Some(GrantState::Ended)) => {
            Failure::new(format!("the grant of request {id} has ended")).code(exit::EXPIRED).hint("ask again")
        }
    })
}

/// What to do after Ctrl-C.
pub(super) fn left_pending(id: &str) -> ExitCode {
    let id = words::visible(id);
    output::note(&format!("request {id} stays pending"));
    output::note(&format!("hint: countersign wait {id} goes on waiting; countersign cancel {id} takes it back"));
    ExitCode::from(exit::INTERRUPTED)
}

/// `asked 14:02 · local:security: waiting for bob · ends 14:32`.
fn in_one_line(view: &View) -> String {
    let mut parts = vec![format!("asked {}", surroundings::clock(view.asked_at))];
    let progress = review::progress(view);
    if !progress.is_empty() {
        parts.push(progress);
    }
    parts.push(if view.stage.is_pending() {
        format!("ends {}", surroundings::clock(view.deadline))
    } else {
        view.stage.as_str().to_owned()
    });
    parts.join(" · ")
}

#[cfg(test)]
pub(super) mod tests {
    use std::process::ExitCode;

    use serde_json::json;

    use super::*;

    /// A view as the API gives it.
    pub(crate) fn view(stage: &str, grant: Option<&str>) -> View {
        let grant = grant.map(|state| {
            json!({"state": state, "uses_left": 1, "not_before": "2026-11-22T14:03:00Z", "expires_at": "2026-11-22T14:08:00Z"})
        });
        serde_json::from_value(json!({
            "id": "0197a3c4-5b6d-7e8f-8a9b-0c1d2e3f4a5b", "version": 3, "stage": stage, "door": "api", "action": "command.run",
            "target": "db1", "parameters": {"argv": ["ls", {"$bytes": "/w=="}], "cwd": "/", "user": "root"}, "context": {},
            "reason": null, "requester": {"account": "local:alice", "person": "alice"}, "asked_at": "2026-11-22T14:02:00Z",
            "deadline": "2026-11-22T14:32:00Z", "digest": "00", "policy": "11", "needs": "needs 1 of local:security, not you",
            "progress": {"confirm": null, "slots": [{"group": "local:security", "filled_by": null}], "summary": ""},
            "you": {"may": ["cancel"], "challenge": null},
            "can_approve": [{"group": "local:security", "people": ["bob", "carol"]}],
            "grant": grant, "ended": {"by": "bob", "at": "2026-11-22T14:04:00Z", "why": null}, "releases": [], "later": 1,
        }))
        .unwrap()
    }

    #[test]
    fn each_end_has_its_own_code() {
        let code = |stage, grant| ended(&view(stage, grant)).map(|failure| exit::code_of(&failure.into()));
        assert_eq!(code("denied", None), Some(121));
        assert_eq!(code("granted", Some("revoked")), Some(121));
        assert_eq!(code("expired", None), Some(122));
        assert_eq!(code("granted", Some("ended")), Some(122));
        assert_eq!(code("cancelled", None), Some(123));
        for (stage, grant) in
            [("asked", None), ("challenged", None), ("granted", Some("live")), ("granted", Some("spent"))]
        {
            assert_eq!(code(stage, grant), None);
        }
        assert_ne!(left_pending("x"), ExitCode::SUCCESS);
    }

    #[test]
    fn the_live_line_names_whom_it_waits_for() {
        let line = in_one_line(&view("challenged", None));
        assert!(line.contains(" · local:security: waiting for bob, carol · ends "), "{line}");
    }
}
