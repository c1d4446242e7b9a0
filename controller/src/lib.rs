//! `composed`: a Kubernetes-style reconciling controller for Compose projects on Docker.
//!
//! The program: the loop (`controller`, with a pass of `reconcile` for each key, and `act`), and the verbs for people (`cli`).
//! What it is made of are crates beside it, each a room with walls of its own: see ARCHITECTURE.md.

pub mod act;
pub mod cli;
pub mod controller;
pub mod queue;
pub mod reconcile;
pub mod rollout_limiter;
pub mod state;
pub mod subject;
