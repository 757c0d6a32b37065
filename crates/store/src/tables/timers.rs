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
    // Selected first, once: a planner may run what stands after IN again for each row, and so take more than the limit.
    CLAIM = "WITH due AS (SELECT kind, subject FROM timers WHERE due_at <= $1 ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED) \
        UPDATE timers SET due_at = $2 WHERE (kind, subject) IN (SELECT kind, subject FROM due) \
        RETURNING kind, subject, due_at";
    NEXT = "SELECT due_at FROM timers ORDER BY due_at LIMIT 1";
}

/// When the next one is due.
#[derive(Clone, Copy, Debug)]
pub struct NextTimer;

load!(NextTimer => Option<Micros>, |Self, reader| reader.first(NEXT, params![], read_due).await);

pub(crate) async fn set(tx: &mut Tx<'_>, timer: &Timer) -> Result<(), Failure> {
    tx.execute(SET, params![timer.kind.as_str(), &timer.subject, timer.due_at]).await?;
    Ok(())
}

pub(crate) async fn clear(tx: &mut Tx<'_>, kind: TimerKind, subject: &str) -> Result<(), Failure> {
    tx.execute(CLEAR, params![kind.as_str(), subject]).await?;
    Ok(())
}

/// Takes what is due: due again at `until`, should whoever took it die. The commit that acts on a timer removes it.
pub(crate) async fn claim(tx: &mut Tx<'_>, now: Micros, until: Micros, limit: u32) -> Result<Vec<Timer>, Failure> {
    let rows = tx.query(CLAIM, params![now, until, limit]).await?;
    Ok(rows.into_iter().map(read).collect::<Result<_, _>>()?)
}

fn read(row: Row) -> Result<Timer, StoreError> {
    let mut columns = row.columns("timers");
    Ok(Timer { kind: columns.one_of(TimerKind::from_str_exact)?, subject: columns.text()?, due_at: columns.micros()? })
}

fn read_due(row: Row) -> Result<Micros, StoreError> {
    row.columns("timers").micros()
}
