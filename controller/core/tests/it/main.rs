//! What the core promises, as seen from outside: golden plans, what is remembered, and properties of any plan.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod edges;
mod golden;
mod memory;
mod promises;
