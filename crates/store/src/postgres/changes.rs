//! Who changed something tells the others, so that they need not wait until they look again by themselves.
//!
//! The telling is beside the commit and not in it: the server lets only one transaction at a time commit that notifies, which would give each commit a
//! sync of its own. Lost notices cost time and nothing else, because everybody looks again after a while.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use super::config::PostgresConfig;
use super::connect::{Notified, Session, connect_with};
use super::connection::PATIENCE;

/// How often a silent connection is asked whether it still hears.
const ASK: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(1);

/// Asks the listening connection to tell the others. Many at once become one notice.
#[derive(Clone, Debug, Default)]
pub(super) struct Tell(Arc<Notify>);

impl Tell {
    pub(super) fn others(&self) {
        self.0.notify_one();
    }
}

/// Listens and tells until it is stopped; a connection that is lost is made anew.
pub(super) async fn listen(config: PostgresConfig, runtime: Handle, changed: watch::Sender<()>, tell: Tell) {
    let ring = changed.clone();
    let notified = move || -> Option<Notified> {
        let ring = ring.clone();
        Some(Box::new(move || {
            ring.send_replace(());
        }))
    };
    loop {
        match connect_with(&config, &runtime, &notified).await {
            Ok(session) => serve(session, &changed, &tell).await,
            Err(error) => tracing::debug!(%error, "nobody tells of changes for now"),
        }
        sleep(AGAIN).await;
    }
}

async fn serve(session: Session, changed: &watch::Sender<()>, tell: &Tell) {
    let Session { client, mut driver } = session;
    // A notice that is lost in a crash is of no use afterwards, so it needs no sync.
    if !run(&client, "SET synchronous_commit = off; LISTEN countersign").await {
        return;
    }
    // Something may have changed while nobody listened.
    changed.send_replace(());
    loop {
        let alive = tokio::select! {
            () = tell.0.notified() => run(&client, "NOTIFY countersign").await,
            () = sleep(ASK) => run(&client, "").await,
            _ = &mut driver => false,
        };
        if !alive {
            return;
        }
    }
}

async fn run(client: &Client, sql: &str) -> bool {
    matches!(timeout(PATIENCE, client.batch_execute(sql)).await, Ok(Ok(())))
}
