//! `GET /requests/{id}/events`: a request followed as server-sent events (WHATWG HTML, section 9.2).

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use countersign_core::ids::RequestId;
use countersign_engine::flow::Watch;
use countersign_engine::{Engine, EngineError};
use countersign_kit::{Bearer, Caller, PathId, Problem, Source, Stopping};
use futures_util::stream::{self, Stream};
use http::HeaderName;
use http::header::CACHE_CONTROL;
use http::request::Parts;

use crate::view::View;

/// Proxies commonly end what is silent for a minute; a client that hears nothing for longer than this knows that the stream is dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// After this long a browser connects again.
const RETRY: Duration = Duration::from_secs(2);

const LAST_EVENT_ID: &str = "last-event-id";
/// nginx keeps what it passes on until a buffer is full, unless it is told.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The version that a client saw last before its stream broke, in the header that `EventSource` sends by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastEventId(Option<i64>);

impl<S: Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(LAST_EVENT_ID).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        let version = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|version: &i64| *version >= 0);
        match (version, values.next()) {
            (Some(version), None) => Ok(Self(Some(version))),
            _ => Err(Problem::malformed("send one Last-Event-ID: the `id` of the last event that you got")),
        }
    }
}

/// Events `request`, each with the request as data and its version as id: at once, unless `Last-Event-ID` is its version, then whenever it has another
/// one. Versions that follow each other faster than they are read are skipped. The last event is `end`, and its data says `why`: `over` when nothing can
/// happen to the request any more, `stopping` when the server stops, `unauthenticated` or `not-found` when the credential has ended or the request may not
/// be seen any more, `unavailable` when it could not be read. A held call, like `wait`.
#[utoipa::path(get, path = "/api/countersign/v1/requests/{id}/events", tag = "requests", security(("bearer" = [])),
    params(("id" = String, Path),
        ("Last-Event-ID" = Option<i64>, Header, description = "the id of the last event that the caller got")), responses(
        (status = 200, body = String, content_type = "text/event-stream"),
        (status = 404, description = "not-found"),
        (status = 429, description = "too-many-waiting"),
    ))]
pub(crate) async fn events(
    State(engine): State<Engine>,
    // Before anything else is read; it also tells the access log whose call it is.
    _judged: Caller,
    source: Source,
    Bearer(credential): Bearer,
    LastEventId(known): LastEventId,
    PathId(id): PathId<RequestId, 1>,
    stopping: Stopping,
) -> Result<Response, Problem> {
    let watch = engine.watch(credential, source.as_str(), id, known).await?;
    let sse = Sse::new(follow(watch, stopping)).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("still here"));
    Ok(([(CACHE_CONTROL, "no-store"), (ACCEL_BUFFERING, "no")], sse).into_response())
}

/// Where a stream stands: the next event is looked for only when the one before was taken, so a slow reader holds one and no more.
enum At {
    Begin(Watch, Stopping),
    Following(Watch, Stopping),
    End,
}

fn follow(watch: Watch, stopping: Stopping) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    stream::unfold(At::Begin(watch, stopping), |at| async move {
        let (mut watch, stopping) = match at {
            At::Begin(watch, stopping) => {
                let greeting = Event::default().retry(RETRY).comment("following");
                return Some((Ok(greeting), At::Following(watch, stopping)));
            }
            At::Following(watch, stopping) => (watch, stopping),
            At::End => return None,
        };
        let next = tokio::select! {
            biased;
            next = watch.next() => next,
            () = stopping.begun() => return Some((Ok(end("stopping")), At::End)),
        };
        Some(match next {
            Ok(Some(view)) => {
                let version = view.request.version;
                match serde_json::to_string(&View::from(*view)) {
                    Ok(text) => {
                        let event = Event::default().event("request").id(version.to_string()).data(text);
                        (Ok(event), At::Following(watch, stopping))
                    }
                    Err(_) => (Ok(end("unavailable")), At::End),
                }
            }
            Ok(None) => (Ok(end("over")), At::End),
            Err(EngineError::Unauthenticated) => (Ok(end("unauthenticated")), At::End),
            Err(EngineError::NotFound(_)) => (Ok(end("not-found")), At::End),
            Err(_) => (Ok(end("unavailable")), At::End),
        })
    })
}

fn end(why: &str) -> Event {
    Event::default().event("end").data(format!(r#"{{"why":"{why}"}}"#))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_event_is_named_once_and_by_a_version() {
        for (values, version) in [
            (&[][..], Some(None)),
            (&["7"], Some(Some(7))),
            (&["0"], Some(Some(0))),
            (&[""], None),
            (&["-1"], None),
            (&["7", "7"], None),
            (&["99999999999999999999"], None),
            (&["x"], None),
        ] {
            let request =
                values.iter().fold(http::Request::builder(), |request, value| request.header(LAST_EVENT_ID, *value));
            let (mut parts, ()) = request.body(()).expect("a request").into_parts();
            let read = LastEventId::from_request_parts(&mut parts, &()).await.ok().map(|id| id.0);
            assert_eq!(read, version, "{values:?}");
        }
    }
}
