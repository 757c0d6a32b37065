//! `/requests`: what is asked, and everything that can be done with it.

mod answer;
mod ask;
mod close;
mod events;
mod explain;
mod list;
mod receipt;
mod release;
mod show;
mod wait;

use axum::Json as Reply;
use countersign_engine::Engine;
use countersign_engine::flow::Asked;
use countersign_kit::Routes;
use http::StatusCode;

use crate::view::View;

pub(crate) use {
    answer::*, ask::*, close::*, events::*, explain::*, list::*, receipt::*, release::*, show::*, wait::*,
};

pub(crate) fn routes(routes: Routes<Engine>) -> Routes<Engine> {
    routes
        .post("/requests", ask)
        .get("/requests", mine)
        .get("/inbox", inbox)
        .post("/requests/explain", explain_request)
        .get("/requests/{id}", show_request)
        .get("/requests/{id}/wait", wait)
        .get("/requests/{id}/events", events)
        .post("/requests/{id}/answer", answer)
        .post("/requests/{id}/deny", deny)
        .post("/requests/{id}/cancel", cancel)
        .post("/requests/{id}/revoke", revoke_grant)
        .post("/requests/{id}/release", release)
        .get("/requests/{id}/receipt", receipt)
}

/// 201 for a request that was made, 200 for one that was found.
pub(crate) fn asked(asked: Asked) -> (StatusCode, Reply<View>) {
    let status = match asked {
        Asked::New(_) => StatusCode::CREATED,
        Asked::Again(_) => StatusCode::OK,
    };
    (status, Reply(asked.into_view().into()))
}
