//! `wait`, and the waiting of every other command: one live line, until the request is decided.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::events::Events;
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
    let mut follow = Follow::new(client);
    while view.stage.is_pending() {
        line.show(&in_one_line(&view));
        let next = tokio::select! {
            next = follow.next(&view) => next,
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
        next = news(client, &view, HOLD) => next,
    }
}

/// Somebody who follows a request: by a stream of events, and by calls that the server holds wherever no stream gets through.
#[derive(Debug)]
struct Follow<'a> {
    client: &'a Client,
    stream: Option<Events<'a>>,
    /// Streams that broke one after the other.
    breaks: u32,
    /// There are no streams here: the server is too old, or a proxy keeps them.
    without: bool,
}

impl<'a> Follow<'a> {
    fn new(client: &'a Client) -> Self {
        Self { client, stream: None, breaks: 0, without: false }
    }

    /// The request as soon as it is another one than this.
    async fn next(&mut self, view: &View) -> Result<View, ApiError> {
        loop {
            if let Some(next) = self.streamed(view).await? {
                return Ok(next);
            }
            // While the next stream is put off; this also finds out what is wrong, if the server ended the one before for a reason.
            let hold = if self.without { HOLD } else { HOLD.min(Duration::from_secs(1 << self.breaks.min(6))) };
            let next = news(self.client, view, hold).await?;
            if next.version != view.version || self.without {
                return Ok(next);
            }
        }
    }

    /// `None` if the stream cannot be had, or has ended.
    async fn streamed(&mut self, view: &View) -> Result<Option<View>, ApiError> {
        if self.without {
            return Ok(None);
        }
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => match self.client.events(&view.id, view.version).await {
                Ok(stream) => self.stream.insert(stream),
                Err(error) if error.is_passing() => return Err(error),
                // Whether it is the stream that is not there or the request, the held call knows.
                Err(_) => {
                    self.without = true;
                    return Ok(None);
                }
            },
        };
        if let Ok(Some(next)) = stream.next().await {
            self.breaks = 0;
            return Ok(Some(next));
        }
        self.stream = None;
        self.breaks += 1;
        Ok(None)
    }
}

async fn news(client: &Client, view: &View, hold: Duration) -> Result<View, ApiError> {
    let (version, hold_secs) = (view.version.to_string(), hold.as_secs().to_string());
    let query = [("version", version.as_str()), ("timeout_secs", hold_secs.as_str())];
    let asked = surroundings::now();
    let next: View = client.hold(&["requests", &view.id, "wait"], &query, hold).await?;
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

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

    /// Answers one call after the other with what is given, each on a connection of its own; says what was asked.
    async fn serve(listener: TcpListener, answers: Vec<String>) -> Vec<String> {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            let path = head.split(' ').nth(1).unwrap().rsplit('/').next().unwrap().to_owned();
            let last = head.lines().find_map(|line| line.strip_prefix("last-event-id: "));
            asked.push(last.map_or(path.clone(), |id| format!("{path} after {id}")));
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    }

    fn answer(status: &str, kind: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n{body}")
    }

    fn at(version: i64, stage: &str) -> String {
        serde_json::to_string(&View { version, ..view(stage, (stage == "granted").then_some("live")) }).unwrap()
    }

    /// What the server was asked until the request was decided.
    async fn asked_until_decided(answers: Vec<String>) -> Vec<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()), false).unwrap();
        let (asked, waited) = tokio::join!(serve(listener, answers), until_decided(&client, view("challenged", None)));
        assert!(matches!(waited.unwrap(), Waited::Decided(view) if view.stage == Stage::Granted));
        asked
    }

    #[tokio::test]
    async fn a_stream_that_breaks_is_bridged_and_begun_again_where_it_was() {
        let stream = |events: &str| answer("200 OK", "text/event-stream", events);
        let asked = asked_until_decided(vec![
            stream(&format!(
                ": following\n\nevent: request\nid: 4\ndata: {}\n\nevent: request\nid: 5\nda",
                at(4, "challenged")
            )),
            answer("200 OK", "application/json", &at(6, "challenged")),
            stream("event: end\ndata: {\"why\":\"stopping\"}\n\n"),
            answer("200 OK", "application/json", &at(7, "challenged")),
            stream(&format!("event: request\nid: 8\ndata: {}\n\n", at(8, "granted"))),
        ])
        .await;
        let expected = [
            "events after 3",
            "wait?version=4&timeout_secs=2",
            "events after 6",
            "wait?version=6&timeout_secs=4",
            "events after 7",
        ];
        assert_eq!(asked, expected);
    }

    #[tokio::test]
    async fn where_no_stream_gets_through_calls_are_held() {
        let asked = asked_until_decided(vec![
            answer("404 Not Found", "text/html", "<html>a proxy</html>"),
            answer("200 OK", "application/json", &at(4, "challenged")),
            answer("200 OK", "application/json", &at(5, "granted")),
        ])
        .await;
        assert_eq!(asked, ["events after 3", "wait?version=3&timeout_secs=50", "wait?version=4&timeout_secs=50"]);
    }

    #[test]
    fn the_live_line_names_whom_it_waits_for() {
        let line = in_one_line(&view("challenged", None));
        assert!(line.contains(" · local:security: waiting for bob, carol · ends "), "{line}");
    }
}
