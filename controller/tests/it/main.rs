//! The controller's tests that need more than one room.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod catalog;
mod contract;
mod deploy_hooks;
mod disk;
mod fuzz;
mod git;
mod golden;
mod hanging;
mod haproxies;
mod hooks;
mod hostile;
mod images;
mod imports;
mod listeners;
mod looks;
mod memory;
mod notifications;
mod order;
mod pause;

mod promises;
mod questions;
mod registries;
mod rollout;
mod says;
mod senses;
mod slow;
mod socket;
mod traefiks;
mod undo;
mod verbs;
mod view;
mod walls;
mod watch;
mod webhook;
mod whole;
mod worlds;
