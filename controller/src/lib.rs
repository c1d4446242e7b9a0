//! `composed`: a Kubernetes-style reconciling controller for Compose projects on Docker.
//!
//! Rooms, in the order data walks through them: `source` (desired state comes in; `front` adds to it), `model` (nouns), `plan` (decisions),
//! `reconcile` and `act` (the loop), `engine` (the door out), `traffic` (who gets requests), `api` (status goes out),
//! `listen` (connections come in, for all of them), `cli` (verbs for people).

pub mod act;
pub mod api;
pub mod board;
pub mod cli;
pub mod clock;
pub mod controller;
mod dependencies;
pub mod engine;
pub mod front;
mod hex;
pub mod images;
pub mod listen;
pub mod model;
pub mod notices;
pub mod orders;
pub mod plan;
pub mod reconcile;
mod secret;
pub mod source;
pub mod state;
pub mod traffic;
mod transport;
pub mod turns;
