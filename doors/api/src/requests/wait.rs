//! `GET /requests/{id}/wait`.

use std::time::Duration;

use axum::Json as Reply;
use axum::extract::State;
use countersign_core::ids::RequestId;
use countersign_engine::Engine;
use countersign_kit::{Bearer, Caller, PathId, Problem, QueryString, Source, Stopping};
use serde::Deserialize;

use crate::view::View;

/// Proxies commonly give up after a minute.
const LONGEST: u64 = 50;
const USUAL: u64 = 25;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    /// The version that the caller has seen.
    version: i64,
    /// 25 if not given, 50 at most.
    timeout_secs: Option<u64>,
}

/// The request as soon as its version is past the given one, or as it stands when the time is up or the server stops.
#[utoipa::path(get, path = "/api/countersign/v1/requests/{id}/wait", tag = "requests", security(("bearer" = [])),
    params(("id" = String, Path),
        ("version" = i64, Query, description = "the version that the caller has seen"),
        ("timeout_secs" = Option<u64>, Query, description = "25 if not given, 50 at most")), responses(
        (status = 200, body = View),
        (status = 404, description = "not-found"),
        (status = 429, description = "too-many-waiting"),
    ))]
pub(crate) async fn wait(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    PathId(id): PathId<RequestId, 1>,
    QueryString(Known { version, timeout_secs }): QueryString<Known>,
    source: Source,
    Bearer(credential): Bearer,
    stopping: Stopping,
) -> Result<Reply<View>, Problem> {
    let timeout = Duration::from_secs(timeout_secs.unwrap_or(USUAL).min(LONGEST));
    let view = tokio::select! {
        view = engine.wait(&principal, id, version, timeout) => view?,
        () = stopping.begun() => engine.show(&principal, id).await?,
    };
    // The credential was good when this began, which may be a while ago.
    engine.authenticate(&credential, source.as_str()).await?;
    Ok(Reply(view.into()))
}
