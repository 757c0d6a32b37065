//! What the doors share on the wire: the accept loop, limits, errors, strict bodies, credentials of a call, the access log.
//!
//! A door builds an `axum::Router`, the binary merges them, and [`serve()`] puts the same frame round all of it.

mod bearer;
mod caller;
mod checkpoint;
mod engine_error;
mod frame;
pub mod json;
mod paging;
mod path;
mod problem;
mod query;
mod routes;
mod secret;
mod serve;
mod source;
mod stopping;

pub use bearer::Bearer;
pub use caller::Caller;
pub use checkpoint::checkpoints;
pub use frame::{Frame, finish};
pub use json::{Document, Json, NoContent};
pub use paging::{Listed, Paging, PagingQuery};
pub use path::PathId;
pub use problem::{Problem, Slug, not_found, wrong_method};
pub use query::QueryString;
pub use routes::Routes;
pub use secret::SecretText;
pub use serve::{Limits, serve};
pub use source::Source;
pub use stopping::Stopping;
