//! `timers`: what is due. The commit that acts on a timer removes it.

use countersign_core::changes::{Timer, TimerKind};
use countersign_core::time::Micros;

use super::{load, statements};
use crate::error::{Failure, StoreError};
use crate::reader::Tx;
use crate::sql::{Row, params};

statements! {
    SET = "INSERT INTO timers (kind, subject, due_at) VALUES ($1, $2, $3) \
        ON CONFLICT (kind, subject) DO UPDATE SET due_at = excluded.due_at";
    CLEAR = "DELETE FROM timers WHERE kind = $1 AND subject = $2";
    DUE = "SELECT kind, subject, due_at FROM timers WHERE due_at <= $1 ORDER BY due_at LIMIT $2";
    NEXT = "SELECT due_at FROM timers ORDER BY due_at LIMIT 1";
}

/// What is due, the earliest first.
#[derive(Clone, Copy, Debug)]
pub struct DueTimers {
    pub now: Micros,
    pub limit: u32,
}

/// When the next one is due.
#[derive(Clone, Copy, Debug)]
pub struct NextTimer;

load!(DueTimers => Vec<Timer>, |Self { now, limit }, reader| reader.all(DUE, params![now, limit], read).await);
load!(NextTimer => Option<Micros>, |Self, reader| reader.first(NEXT, params![], read_due).await);

pub(crate) async fn set(tx: &mut Tx<'_>, timer: &Timer) -> Result<(), Failure> {
    tx.execute(SET, params![timer.kind.as_str(), &timer.subject, timer.due_at]).await?;
    Ok(())
}

pub(crate) async fn clear(tx: &mut Tx<'_>, kind: TimerKind, subject: &str) -> Result<(), Failure> {
    tx.execute(CLEAR, params![kind.as_str(), subject]).await?;
    Ok(())
}

fn read(row: Row) -> Result<Timer, StoreError> {
    let mut columns = row.columns("timers");
    Ok(Timer { kind: columns.one_of(TimerKind::from_str_exact)?, subject: columns.text()?, due_at: columns.micros()? })
}

fn read_due(row: Row) -> Result<Micros, StoreError> {
    row.columns("timers").micros()
}
