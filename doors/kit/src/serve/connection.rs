//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use http::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::Limits;
use super::stalled::Stalled;
use crate::frame::HEADER_COUNT;
use crate::{Source, Stopping};

/// All headers of a request together.
const HEADER_BYTES: usize = 16 * 1024;
/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 64;
const PING_EVERY: Duration = Duration::from_secs(20);

/// What all connections share.
#[derive(Clone)]
pub(super) struct Connections {
    router: Router,
    limits: Limits,
    http: Builder<Tasks>,
    stop: CancellationToken,
    kill: CancellationToken,
}

impl Connections {
    pub(super) fn new(
        router: Router,
        limits: Limits,
        tasks: TaskTracker,
        stop: CancellationToken,
        kill: CancellationToken,
    ) -> Self {
        let mut http = Builder::new(Tasks(tasks));
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_time)
            .max_headers(HEADER_COUNT)
            .max_buf_size(HEADER_BYTES);
        http.http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX))
            .max_concurrent_streams(STREAMS)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_EVERY);
        Self { router, limits, http, stop, kill }
    }

    /// Serves requests until either side is done, the peer is idle, or the server stops.
    pub(super) fn run<I>(&self, stream: I, source: Source) -> impl Future<Output = ()> + Send + use<I>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { router, limits, http, stop, kill } = self.clone();
        async move {
            let activity = Arc::new(Activity::default());
            let service = {
                let activity = Arc::clone(&activity);
                let stopping = Stopping(stop.clone());
                service_fn(move |request: Request<Incoming>| {
                    let begun = activity.begin();
                    let mut request = request.map(Body::new);
                    request.extensions_mut().insert(source.clone());
                    request.extensions_mut().insert(stopping.clone());
                    let router = router.clone();
                    async move {
                        let response: Result<Response, Infallible> = router.oneshot(request).await;
                        // A body that is still being written is no idleness.
                        response.map(|response| response.map(|body| Counted { body, _begun: begun }))
                    }
                })
            };
            let stream = TokioIo::new(Stalled::new(stream, limits.stall_time));
            let mut connection = pin!(http.serve_connection(stream, service));
            let mut silent = pin!(sleep(limits.header_time));
            let mut look = interval(limits.idle_time);
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut asked_to_stop = false;
            let mut heard = false;
            let mut seen = None;
            loop {
                tokio::select! {
                    result = connection.as_mut() => {
                        if let Err(error) = result {
                            tracing::debug!(error, "a connection ended with an error");
                        }
                        return;
                    }
                    () = kill.cancelled() => return,
                    () = stop.cancelled(), if !asked_to_stop => {
                        asked_to_stop = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    // Telling the versions of HTTP apart has no time limit of its own.
                    () = silent.as_mut(), if !heard => {
                        heard = true;
                        if activity.requests() == 0 {
                            return;
                        }
                    }
                    _ = look.tick() => {
                        let now = activity.requests();
                        if activity.is_idle() && seen == Some(now) {
                            connection.as_mut().graceful_shutdown();
                        }
                        seen = Some(now);
                    }
                }
            }
        }
    }
}

/// What has happened on a connection.
#[derive(Debug, Default)]
struct Activity {
    begun: AtomicU64,
    running: AtomicUsize,
}

/// A request that is being answered.
struct Running(Arc<Activity>);

impl Activity {
    fn begin(self: &Arc<Self>) -> Running {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(self))
    }

    fn requests(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    fn is_idle(&self) -> bool {
        self.running.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body during which its request is being answered.
struct Counted {
    body: Body,
    _begun: Running,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Streams of HTTP/2 run on the tracker, so that a stop waits for them.
#[derive(Clone, Debug)]
struct Tasks(TaskTracker);

impl<F> Executor<F> for Tasks
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
