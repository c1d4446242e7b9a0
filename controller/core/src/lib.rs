//! THE PURE CORE: what the controller thinks in (`model`), what it decides (`plan`), what a front means (`front`), and what it
//! asks of the outside (the traits in `engine` and `traffic`). No I/O, no runtime, no clock: Cargo.toml has none to offer.

pub mod backoff;
pub mod engine;
pub mod front;
pub mod hex;
pub mod model;
pub mod plan;
mod redact;
pub mod reference;
pub mod traffic;
