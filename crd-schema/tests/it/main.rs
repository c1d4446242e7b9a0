//! What crd-schema promises, seen from outside. One binary: it links once.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::format_collect, clippy::format_push_string, reason = "tests build text, not fast text")]
#![allow(clippy::disallowed_methods, reason = "the limits are measured in real time")]

mod bad;
mod compose;
mod forms;
mod golden;
mod limits;
mod oracle;
mod schema;
mod serde_round;
mod settings;
mod status;
