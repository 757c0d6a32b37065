//! `GET /requests/{id}/receipt`.

use std::time::Duration;

use axum::extract::State;
use countersign_core::ids::RequestId;
use countersign_engine::{Engine, EngineError};
use countersign_kit::{Caller, PathId, Problem, QueryString, Stopping};
use http::HeaderName;
use http::header::CONTENT_TYPE;
use serde::Deserialize;

const LONGEST: u64 = 50;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Patience {
    /// How long to wait for the checkpoint; not at all if not given, 50 at most.
    timeout_secs: Option<u64>,
}

/// The receipt as a file that verifies offline.
#[utoipa::path(get, path = "/api/countersign/v1/requests/{id}/receipt", tag = "requests", security(("bearer" = [])),
    params(("id" = String, Path), ("timeout_secs" = Option<u64>, Query, description = "how long to wait for the checkpoint; not at all if not given, 50 at most")), responses(
        (status = 200, body = Object, content_type = "application/json"),
        (status = 404, description = "not-found"),
        (status = 409, description = "receipt-not-ready"),
    ))]
pub(crate) async fn receipt(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    PathId(id): PathId<RequestId, 1>,
    QueryString(Patience { timeout_secs }): QueryString<Patience>,
    stopping: Stopping,
) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    let timeout = Duration::from_secs(timeout_secs.unwrap_or(0).min(LONGEST));
    let receipt = tokio::select! {
        receipt = engine.receipt(&principal, id, timeout) => receipt?,
        () = stopping.begun() => return Err(EngineError::ReceiptNotReady.into()),
    };
    Ok(([(CONTENT_TYPE, "application/json")], receipt))
}
