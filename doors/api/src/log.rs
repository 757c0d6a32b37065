//! `GET /log`: which log this is.

use axum::Json as Reply;
use axum::extract::State;
use countersign_engine::Engine;
use countersign_kit::{Caller, Problem, Routes};
use serde::Serialize;
use utoipa::ToSchema;

pub(crate) fn routes(routes: Routes<Engine>) -> Routes<Engine> {
    routes.get("/log", log)
}

#[derive(Serialize, ToSchema)]
pub(crate) struct LogInfo {
    origin: String,
    /// The key that checkpoints are verified with, as in the `signed-note` format.
    vkey: String,
    epoch: u64,
    /// Entries that have their place in the tree.
    size: u64,
}

/// The name, key and size of the current log.
#[utoipa::path(get, path = "/api/countersign/v1/log", tag = "ledger", security(("bearer" = [])), responses((status = 200, body = LogInfo)))]
pub(crate) async fn log(State(engine): State<Engine>, _: Caller) -> Result<Reply<LogInfo>, Problem> {
    let log = engine.log_info().await?;
    Ok(Reply(LogInfo { origin: log.origin, vkey: log.vkey, epoch: log.epoch, size: log.size }))
}
