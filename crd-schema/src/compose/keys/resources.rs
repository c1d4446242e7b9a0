//! The keys of networks, volumes, configs and secrets.

use super::key::{ComposeKey, elsewhere, no, note, yes};

const SWARM: &str = "it belongs to Swarm; mount a file: `file: ./name`";
const PUT: &str = "put into the container before its first start; not where the root file system is read-only";
const NAMED: &str = "it is for Swarm: a file that is mounted has a path only";

/// The keys of the resources that services share.
pub(super) const KEYS: &[ComposeKey] = &[
    yes("network.attachable"),
    yes("network.driver"),
    yes("network.driver_opts"),
    note("network.enable_ipv4", "`false` from engine 28 on"),
    yes("network.enable_ipv6"),
    yes("network.external"),
    note("network.external.name", "the old way to write `name`"),
    yes("network.internal"),
    yes("network.ipam"),
    yes("network.ipam.config"),
    yes("network.ipam.config.aux_addresses"),
    yes("network.ipam.config.gateway"),
    yes("network.ipam.config.ip_range"),
    yes("network.ipam.config.subnet"),
    yes("network.ipam.driver"),
    yes("network.ipam.options"),
    yes("network.labels"),
    yes("network.name"),
    yes("volume.driver"),
    yes("volume.driver_opts"),
    yes("volume.external"),
    note("volume.external.name", "the old way to write `name`"),
    yes("volume.labels"),
    yes("volume.name"),
    note("config.content", PUT),
    note("config.environment", PUT),
    no("config.external", SWARM),
    yes("config.file"),
    elsewhere("config.labels", NAMED),
    elsewhere("config.name", NAMED),
    no("config.template_driver", SWARM),
    no("secret.driver", SWARM),
    no("secret.driver_opts", SWARM),
    note(
        "secret.environment",
        "a variable of the project, never of composed's own environment; put into the container",
    ),
    no("secret.external", SWARM),
    yes("secret.file"),
    elsewhere("secret.labels", NAMED),
    elsewhere("secret.name", NAMED),
    no("secret.template_driver", SWARM),
];
