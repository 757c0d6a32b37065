//! The PostgreSQL driver: a pool of connections to a server that several processes may use.
//!
//! Each wait has an end, so that a server that is away or hangs is an answer and not a silence. A call runs in a task of its own on the runtime that
//! opened the store: whoever stops waiting takes no commit back and leaves no transaction half done.

mod changes;
mod config;
mod connect;
mod connection;
mod engine;
mod error;
mod guard;
mod migrate;
mod pool;

pub use config::PostgresConfig;
pub(crate) use connect::connect as session;
pub(crate) use connection::Connection;
pub(crate) use engine::Postgres;
pub(crate) use error::db_error;
pub(crate) use migrate::migrate;

/// Which of these statements can't be used on a new database, and why.
#[cfg(test)]
pub(crate) async fn unfit_statements(
    config: &PostgresConfig,
    statements: impl Iterator<Item = &'static str>,
) -> Result<Vec<String>, crate::error::StoreError> {
    let runtime = tokio::runtime::Handle::current();
    migrate(config, &runtime).await?;
    let session = connect::connect(config, &runtime, || None).await?;
    let mut all = Vec::new();
    for sql in statements {
        all.extend(connection::unfit(&session.client, sql).await);
    }
    Ok(all)
}
