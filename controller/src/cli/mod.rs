//! VERBS FOR PEOPLE: the command line, and what its verbs print and answer.

pub mod app;
pub mod apply;
pub mod args;
pub mod demo;
pub mod import;
mod paths;
pub mod places;
pub mod plan;
pub mod plugin;
mod preflight;
pub mod progress;
pub mod receivers;
pub mod repositories;
pub mod rollout;
pub mod rootfs;
pub mod run;
pub mod session;
pub mod status;
pub mod table;
mod terminal;
mod yaml;
