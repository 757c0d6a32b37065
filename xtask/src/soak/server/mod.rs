//! A service under the load of many clients, as something to be broken, on either engine. The built program and other people's tools only: what is
//! checked is what anybody could check from outside. The same files serve `cargo xtask soak` and the short runs in the tests.

mod client;
mod commits;
mod faults;
pub(crate) mod home;
pub(crate) mod http;
mod load;
mod memory;
pub(crate) mod people;
mod postgres;
pub(crate) mod proxy;
mod races;
mod running;

pub(crate) use faults::Fault;
pub(crate) use home::Engine;
pub(crate) use load::{Load, Size};
pub(crate) use races::race;
