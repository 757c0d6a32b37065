//! Bringing the schema up to date, one process at a time.

use refinery::Runner;
use tokio::runtime::Handle;
use tokio_postgres::Client;

use super::config::PostgresConfig;
use super::connect::connect;
use super::error::why;
use crate::error::StoreError;
use crate::migrations;

/// Any number that no other program picks: "csgn".
const LOCK: &str = "SET lock_timeout = '60s'; SET statement_timeout = '10min'; SELECT pg_advisory_lock(1668507502)";
const HISTORY: &str = "SELECT CASE WHEN to_regclass('public.refinery_schema_history') IS NULL THEN 0 ELSE 1 END";
const FOUND: &str = "SELECT COALESCE(MAX(CAST(version AS BIGINT)), 0) FROM refinery_schema_history";

/// The lock ends with its connection.
pub(crate) async fn migrate(config: &PostgresConfig, runtime: &Handle) -> Result<(), StoreError> {
    let mut session = connect(config, runtime, || None).await?;
    let client = &mut session.client;
    client.batch_execute(LOCK).await.map_err(|error| StoreError::Away { why: why(&error) })?;
    let migrations = migrations::postgres()?;
    let known = migrations::newest(&migrations);
    let found = schema_version(client).await.map_err(|error| failed(&error))?;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    Runner::new(&migrations).run_async(client).await.map_err(|error| {
        migrations::altered(&error)
            .unwrap_or_else(|| migrations::source(&error).map_or_else(|| StoreError::Sql(error.to_string()), failed))
    })?;
    Ok(())
}

async fn schema_version(client: &Client) -> Result<i64, tokio_postgres::Error> {
    let there: i32 = client.query_one(HISTORY, &[]).await?.try_get(0)?;
    if there == 0 {
        return Ok(0);
    }
    client.query_one(FOUND, &[]).await?.try_get(0)
}

fn failed(error: &tokio_postgres::Error) -> StoreError {
    match error.as_db_error() {
        Some(told) if told.code().code() == "42501" => StoreError::Unfit(format!(
            "its tables can't be made ({}); let the user own the database, or grant it CREATE on the schema public",
            told.message()
        )),
        _ => super::error::db_error(error).into(),
    }
}
