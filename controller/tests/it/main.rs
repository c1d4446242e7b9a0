//! The controller's tests that need more than one room.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod catalog;
mod contract;
mod golden;
mod promises;
mod senses;
mod walls;
mod worlds;
