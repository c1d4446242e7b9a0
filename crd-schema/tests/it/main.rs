//! What crd-schema promises, seen from outside. One binary: it links once.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod bad;
mod forms;
mod golden;
mod limits;
mod oracle;
mod schema;
mod serde_round;
