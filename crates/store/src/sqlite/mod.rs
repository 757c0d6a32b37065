//! The SQLite driver: one writer, several readers, one process.

mod connection;
mod engine;
mod open;
mod pool;
mod writer;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

pub(crate) use connection::{Connection, db_error};
pub(crate) use engine::Sqlite;
pub(crate) use open::{Opened, migrate_file, open, opening, private, schema_version};
use pool::Pool;
use writer::{Job, Writer};

/// Runs a future of this driver. None of them ever waits, because no statement does; `None` would mean that one did.
fn now<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
