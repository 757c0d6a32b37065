#![allow(warnings)]
#[path = "../it/crash.rs"]
mod crash;
#[path = "../it/order.rs"]
mod order;
#[path = "../it/damage.rs"]
mod damage;
#[path = "../it/support/mod.rs"]
mod support;
