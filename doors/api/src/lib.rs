//! Countersign's own HTTP API, under `/api/countersign/v1`, and the public log under `/ledger`.
//!
//! One file for each endpoint or small family: its wire types, handler and tests. The engine decides everything; here wire formats become its verbs and
//! its answers become wire formats.

mod admin;
mod enrol;
mod explanation;
mod health;
mod idempotency;
mod ledger;
mod log;
mod login;
mod metrics;
mod openapi;
mod operation;
mod people;
mod policy;
mod releases;
mod requests;
mod session;
mod tokens;
mod view;
mod whoami;

use axum::Router;
use axum::middleware::from_fn_with_state;
use countersign_engine::Engine;
use countersign_kit::{Routes, checkpoints, not_found, wrong_method};

pub use openapi::openapi;

/// Where all but the log, the health check and the document itself lie.
pub const PREFIX: &str = "/api/countersign/v1";

/// All routes. The accept loop's frame goes round them: [`countersign_kit::finish`].
pub fn router(engine: Engine) -> Router {
    let own = api().into_router().fallback(not_found).method_not_allowed_fallback(wrong_method);
    let own = own.layer(from_fn_with_state(engine.clone(), checkpoints));
    outside().into_router().method_not_allowed_fallback(wrong_method).nest(PREFIX, own).with_state(engine)
}

fn api() -> Routes<Engine> {
    Routes::new()
        .with(login::routes)
        .with(session::routes)
        .with(whoami::routes)
        .with(requests::routes)
        .with(releases::routes)
        .with(admin::routes)
        .with(people::routes)
        .with(tokens::routes)
        .with(enrol::routes)
        .with(policy::routes)
        .with(log::routes)
}

fn outside() -> Routes<Engine> {
    Routes::new().with(ledger::routes).with(health::routes).with(metrics::routes).with(openapi::routes)
}

#[cfg(test)]
mod tests;
