//! The accept loop.
//!
//! Our own, because the limits are ours: connections in all and for each source, time for headers, time for a peer that does not read.

mod connection;
mod sources;
mod stalled;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Source;
use connection::Connections;
use sources::Sources;

/// After an error of `accept` that is not one peer's alone: most often no file descriptor is left, and trying again at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a peer may take. Defaults are for a server that faces a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Open connections of one source; further ones are closed at once.
    pub connections_per_source: usize,
    /// From the first moment, or the end of the last answer, to the end of the next request's headers.
    pub header_time: Duration,
    /// A connection on which nothing happens is closed after this long, at most twice this long.
    pub idle_time: Duration,
    /// How long a peer may leave unread what was written to it.
    pub stall_time: Duration,
    /// What requests get to finish when the server stops.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            connections_per_source: 1_024,
            header_time: Duration::from_secs(10),
            idle_time: Duration::from_mins(2),
            stall_time: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}

/// Serves a router, [finished](crate::finish), until `stop`; then takes nothing new, tells held calls to end, lets the rest finish for
/// [`Limits::grace`], and returns when every connection is closed.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let kill = CancellationToken::new();
    let places = Arc::new(Semaphore::new(limits.connections));
    let sources = Sources::new(limits.connections_per_source);
    let connections = Connections::new(router, limits, tasks.clone(), stop.clone(), kill.clone());
    let accept = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let source = Source::from(peer);
            let Some(counted) = sources.enter(&source) else {
                tracing::debug!(source = source.as_str(), "too many connections of one source");
                continue;
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection ended before it began");
                continue;
            }
            let connection = connections.run(stream, source);
            // A panic ends this task alone; its guards still give back its place.
            tasks.spawn(async move {
                let _held = (place, counted);
                connection.await;
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop.cancelled() => {}
    }
    drop(listener);
    tasks.close();
    if timeout(limits.grace, tasks.wait()).await.is_err() {
        tracing::warn!(connections = tasks.len(), "closing connections that did not finish in time");
        kill.cancel();
        tasks.wait().await;
    }
}

#[cfg(test)]
mod tests;
