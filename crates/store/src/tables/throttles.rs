//! `throttles`, one row for each subject and source, and `throttle_totals`, the failures in a row of a subject over all sources.

use countersign_core::throttle::{Effect, Throttle, ThrottleKey};
use countersign_core::time::Micros;

use super::{load, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::{Reader, Tx};
use crate::sql::{Row, params};

statements! {
    INSERT = "INSERT INTO throttles (subject, source, version, failures, open_at, succeeded) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    UPDATE = "UPDATE throttles SET version = $3, failures = $4, open_at = $5, succeeded = $6 \
        WHERE subject = $1 AND source = $2 AND version = CAST($3 AS BIGINT) - 1";
    COUNT = "INSERT INTO throttle_totals (subject, failures) VALUES ($1, 1) \
        ON CONFLICT (subject) DO UPDATE SET failures = throttle_totals.failures + 1";
    RESET = "DELETE FROM throttle_totals WHERE subject = $1";
    // The version goes on: an attempt that was admitted before must not find its expectation met again. Which sources succeeded stays known.
    CLEAR = "UPDATE throttles SET version = version + 1, failures = 0, open_at = 0 WHERE subject = $1";
    PURGE = "DELETE FROM throttles WHERE succeeded = 0 AND open_at < $1";
    BY_KEY = "SELECT version, failures, open_at, succeeded FROM throttles WHERE subject = $1 AND source = $2";
    TOTAL = "SELECT failures FROM throttle_totals WHERE subject = $1";
}

/// The counter of one subject and source, with the subject's total. Version 0 when there is no row yet.
#[derive(Clone, Debug)]
pub struct ThrottleFor(pub ThrottleKey);

load!(ThrottleFor => Throttle, |Self(key), reader| find(reader, key).await);

pub(crate) async fn find(reader: &mut Reader<'_>, key: ThrottleKey) -> Result<Throttle, StoreError> {
    let mut throttle = Throttle::new(key);
    let row = reader.first(BY_KEY, params![&throttle.key.subject, &throttle.key.source], read).await?;
    if let Some((version, failures, open_at, succeeded)) = row {
        throttle.version = version;
        throttle.failures = failures;
        throttle.open_at = open_at;
        throttle.succeeded = succeeded;
    }
    throttle.subject_failures = reader.first(TOTAL, params![&throttle.key.subject], read_total).await?.unwrap_or(0);
    Ok(throttle)
}

pub(crate) async fn put(tx: &mut Tx<'_>, throttle: &Throttle) -> Result<(), Failure> {
    let Throttle { key, version, failures, open_at, succeeded, subject_failures: _, effect } = throttle;
    let sql = if *version == 1 { INSERT } else { UPDATE };
    let row = params![&key.subject, &key.source, *version, *failures, *open_at, *succeeded];
    tx.one(sql, row, || Expectation::ThrottleVersion { key: key.clone() }).await?;
    match effect {
        Effect::Unchanged => {}
        Effect::Failed => {
            tx.execute(COUNT, params![&key.subject]).await?;
        }
        Effect::Passed => {
            tx.execute(RESET, params![&key.subject]).await?;
        }
    }
    Ok(())
}

pub(crate) async fn clear(tx: &mut Tx<'_>, subject: &str) -> Result<(), Failure> {
    tx.execute(CLEAR, params![subject]).await?;
    tx.execute(RESET, params![subject]).await?;
    Ok(())
}

/// Forgets sources that never succeeded and have been open since before that moment. The subject's total stays.
pub(crate) async fn purge(tx: &mut Tx<'_>, before: Micros) -> Result<(), Failure> {
    tx.execute(PURGE, params![before]).await?;
    Ok(())
}

fn read(row: Row) -> Result<(i64, i64, Micros, bool), StoreError> {
    let mut columns = row.columns("throttles");
    Ok((columns.int()?, columns.int()?, columns.micros()?, columns.flag()?))
}

fn read_total(row: Row) -> Result<i64, StoreError> {
    row.columns("throttle_totals").int()
}
