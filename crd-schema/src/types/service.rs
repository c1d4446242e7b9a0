//! The spec of a service: Compose's service keys that composed supports, and its own.

use crate::ImageRef;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::forms::{Command, Dict, Hosts, Labels, Named, OneOrMany, Options, Ports, Short, Shorts, Texts, via};

use super::{
    attach::{Dependency, EnvFile, EnvFiles, NetworkAttachment},
    deploy::Deploy,
    devices::{BlkioConfig, DeviceRequest},
    environment::Environment,
    file::ContainerFile,
    front::{Front, Generated, Traffic},
    health::{Healthcheck, Hook, Readiness},
    hooks::Hooks,
    is_false,
    mount::Mount,
    port::Port,
    rollout::Rollout,
    runtime::{Device, Logging, PullPolicy, RestartPolicy, RestartRules, SwapLimit, Ulimit, Ulimits},
    scalar::{ByteSize, ComposeDuration, Decimal},
    update::Update,
};

/// What a service should be. The keys are Compose's (compose-spec 05-services) in one normalised shape; the last
/// seven are composed's own. A key that says nothing is not serialised, so a key added later changes no old spec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "the keys are Compose's, not ours to fold")]
pub struct ServiceSpec {
    /// The image of every replica.
    pub image: ImageRef,
    /// How many replicas should run. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// The command, in place of the image's. A string is split as a shell would; an empty list or string clears the
    /// image's.
    #[serde(deserialize_with = "via::<Command, _, _>", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Command")]
    pub command: Option<Vec<String>>,
    /// The entrypoint, in place of the image's. A string is split as a shell would; an empty list or string clears the
    /// image's.
    #[serde(deserialize_with = "via::<Command, _, _>", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Command")]
    pub entrypoint: Option<Vec<String>>,
    /// Environment variables, as a map or a list of `NAME=value`. Every name needs a value: composed never passes its
    /// own environment on.
    #[serde(default, skip_serializing_if = "Environment::is_empty")]
    pub environment: Environment,
    /// Variables of the image that a replica does not have. In a Compose file: a name alone in `environment` that the project's
    /// variables do not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unset_environment: Vec<String>,
    /// Files of `NAME=value` lines, merged before `environment`: a path, a list of paths, or a list of maps.
    #[serde(deserialize_with = "via::<EnvFiles, _, _>", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "EnvFiles")]
    pub env_file: Vec<EnvFile>,
    /// Labels of the containers, as a map or a list of `name=value`.
    #[serde(deserialize_with = "via::<Labels, _, _>", default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Labels")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the containers, as a map or a list of `name=value`.
    #[serde(deserialize_with = "via::<Labels, _, _>", default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Labels")]
    pub annotations: BTreeMap<String, String>,
    /// The networks to join, as a list or a map. Absent: the project's default network.
    #[serde(
        deserialize_with = "via::<Named<NetworkAttachment, true>, _, _>",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Named<NetworkAttachment, true>")]
    pub networks: Option<BTreeMap<String, NetworkAttachment>>,
    /// `none`, `host` or `bridge` in place of `networks`, or `service:NAME`: the network of a replica of that service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_mode: Option<String>,
    /// What is mounted, in short (`source:target:ro`) or long form.
    #[serde(deserialize_with = "via::<Shorts<Mount>, _, _>", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Shorts<Mount>")]
    pub volumes: Vec<Mount>,
    /// Ports published on the host, in short (`8080:80/tcp`) or long form; ranges become one entry each.
    #[serde(deserialize_with = "via::<Ports, _, _>", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Ports")]
    pub ports: Vec<Port>,
    /// Ports other containers may use, such as `80` or `8000-8010/udp`. Information only: networks hold nothing back.
    #[serde(deserialize_with = "via::<Texts, _, _>", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Texts")]
    pub expose: Vec<String>,
    /// The signal that asks a replica to end. Default: the image's, then `SIGTERM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// The time between that signal and `SIGKILL`. Default `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_grace_period: Option<ComposeDuration>,
    /// What the engine does when the container ends by itself: `no`, `always`, `on-failure[:times]`, `unless-stopped`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartPolicy>,
    /// How soon and how often composed itself makes another replica for one that has ended; the engine's own policy is off then.
    /// `restart` says after which ends. Default: the engine restarts it, as `restart` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartRules>,
    /// The user, as `name`, `uid` or `uid:gid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// The host name. Default: the container's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The NIS domain name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// Lines for `/etc/hosts` as `host:ip`, from a list (`host=ip` or `host:ip`) or a map.
    #[serde(deserialize_with = "via::<Hosts, _, _>", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Hosts")]
    pub extra_hosts: Vec<String>,
    /// Name servers, as a string or a list.
    #[serde(deserialize_with = "via::<OneOrMany, _, _>", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany")]
    pub dns: Vec<String>,
    /// Search domains, as a string or a list.
    #[serde(deserialize_with = "via::<OneOrMany, _, _>", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany")]
    pub dns_search: Vec<String>,
    /// Options for the resolver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_opt: Vec<String>,
    /// Capabilities to add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    /// Capabilities to drop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_drop: Vec<String>,
    /// Security options, such as `no-new-privileges:true`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_opt: Vec<String>,
    /// Further groups of the user, by name or number.
    #[serde(deserialize_with = "via::<Texts, _, _>", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Texts")]
    pub group_add: Vec<String>,
    /// All privileges of the host.
    #[serde(default, skip_serializing_if = "is_false")]
    pub privileged: bool,
    /// The root file system may not be written to.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Give it a terminal.
    #[serde(default, skip_serializing_if = "is_false")]
    pub tty: bool,
    /// Keep its standard input open.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stdin_open: bool,
    /// Paths in memory, as a string or a list; options follow a colon (`/run:size=64m`).
    #[serde(deserialize_with = "via::<OneOrMany, _, _>", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany")]
    pub tmpfs: Vec<String>,
    /// The size of `/dev/shm`. Default: the engine's (`64m`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<ByteSize>,
    /// Kernel parameters, as a map or a list of `name=value`.
    #[serde(deserialize_with = "via::<Dict, _, _>", default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Dict")]
    pub sysctls: BTreeMap<String, String>,
    /// Limits by resource: a number for both, or `soft` and `hard`.
    #[serde(deserialize_with = "via::<Ulimits, _, _>", default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Ulimits")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Devices of the host, in short (`source:target:rwm`) or long form, or by name (CDI, `vendor.com/class=name`).
    #[serde(deserialize_with = "via::<Shorts<Device>, _, _>", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Shorts<Device>")]
    pub devices: Vec<Device>,
    /// Device rules of the control group, such as `c 1:3 mr`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_cgroup_rules: Vec<String>,
    /// Run an init that forwards signals and reaps children. Default: the engine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    /// Where the engine sends the container's output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
    /// The most CPUs a replica may use, such as `0.5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Decimal>,
    /// Its weight against other containers. Default 1024.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<i64>,
    /// CPU time in microseconds within each `cpu_period`; `cpus` says the same more plainly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<i64>,
    /// The period of `cpu_quota` in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_period: Option<i64>,
    /// The CPUs it may run on, such as `0-2,4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpuset: Option<String>,
    /// CPU time of the real-time scheduler in microseconds within each `cpu_rt_period`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_rt_runtime: Option<i64>,
    /// The period of `cpu_rt_runtime` in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_rt_period: Option<i64>,
    /// How it shares block devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blkio_config: Option<BlkioConfig>,
    /// GPUs to be had from a driver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<DeviceRequest>,
    /// The most memory a replica may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_limit: Option<ByteSize>,
    /// The memory the engine should keep for a replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_reservation: Option<ByteSize>,
    /// The most memory and swap together; -1 for no limit on swap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memswap_limit: Option<SwapLimit>,
    /// How readily its memory is swapped out, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_swappiness: Option<i64>,
    /// How readily the kernel kills it, -1000 (never) to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i64>,
    /// Never kill it when memory runs out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub oom_kill_disable: bool,
    /// The most processes; -1 for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<i64>,
    /// Compose's second place for resource limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<Deploy>,
    /// When the image is pulled. Default `missing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_policy: Option<PullPolicy>,
    /// The platform of the image, such as `linux/arm64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Services that must be there first, as a list or a map.
    #[serde(
        deserialize_with = "via::<Named<Dependency, true>, _, _>",
        default,
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    #[schemars(with = "Named<Dependency, true>")]
    pub depends_on: BTreeMap<String, Dependency>,
    /// The engine's healthcheck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// A fixed name for the container. Forbids a second replica; in a rollout the successor gets it when it is available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// The IPC namespace: `private`, `shareable`, `host`, `none`, or `service:NAME` for that of a replica of that service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipc: Option<String>,
    /// The process namespace: `host`, or `service:NAME` for that of a replica of that service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// The user namespace: `host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userns_mode: Option<String>,
    /// The control group namespace: `host` or `private`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The parent control group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_parent: Option<String>,
    /// The container runtime, such as `runsc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// A fixed hardware address; only with one replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
    /// The UTS namespace: `host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uts: Option<String>,
    /// Options of the storage driver, such as `size: 1G`.
    #[serde(deserialize_with = "via::<Options, _, _>", default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Options")]
    pub storage_opt: BTreeMap<String, String>,
    /// How long a replica that gets no more requests may finish those it has, before `stop_signal`. Default `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_timeout: Option<ComposeDuration>,
    /// How the service moves from one revision to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Begin and change nothing: what runs goes on as it is, and is shown.
    #[serde(default, skip_serializing_if = "is_false")]
    pub paused: bool,
    /// composed's own probe of a replica, over the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Readiness>,
    /// Commands run in a replica once it is started, in order, before it may serve. One that fails fails the replica.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_start: Vec<Hook>,
    /// Commands run in a replica before `stop_signal`, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_stop: Vec<Hook>,
    /// Containers that run once around a rollout: `pre_deploy` before it, `post_deploy` after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// A proxy of the service's own that has its host ports and its name on the networks: `http`, `tcp` or a map. With
    /// it a rollout is start-first and loses no request even with one replica and a fixed host port, and several
    /// replicas share a host port.
    #[serde(deserialize_with = "via::<Short<Front>, _, _>", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Short<Front>")]
    pub front: Option<Front>,
    /// Proxies that people run themselves and composed tells who serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// Files that are put into each container before its first start, such as configs and secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ContainerFile>,
    /// How it follows new images: `digest`, `none` or a map. Default `none`.
    #[serde(deserialize_with = "via::<Short<Update>, _, _>", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Short<Update>")]
    pub update: Option<Update>,
    /// What composed itself adds to services that it makes up. Refused in documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub generated: Option<Generated>,
}

impl ServiceSpec {
    /// What the engine is to do with a container of it that ends: nothing where composed runs it again itself.
    pub fn engine_restart(&self) -> Option<RestartPolicy> {
        self.restart.map(|policy| if self.restart_policy.is_some() { RestartPolicy::No } else { policy })
    }

    /// So many further runs a replica of it has after its first one, if there is a limit.
    pub fn max_restarts(&self) -> Option<u32> {
        let own = match self.restart {
            Some(RestartPolicy::No) => return Some(0),
            Some(RestartPolicy::OnFailure(times)) => times,
            Some(RestartPolicy::Always | RestartPolicy::UnlessStopped) | None => None,
        };
        self.restart_policy.and_then(|rules| rules.max_attempts).or(own).filter(|times| *times > 0)
    }

    /// The images that its hooks name beside its own.
    pub fn hook_images(&self) -> impl Iterator<Item = &ImageRef> {
        self.hooks.iter().flat_map(Hooks::images)
    }

    /// The namespaces of other services that its replicas join: the key, and the service.
    pub fn shares(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let keys = [("network_mode", &self.network_mode), ("ipc", &self.ipc), ("pid", &self.pid)];
        keys.into_iter().filter_map(|(key, mode)| Some((key, mode.as_deref()?.strip_prefix("service:")?)))
    }

    /// Whether its replicas have their network from others.
    pub fn shares_network(&self) -> bool {
        self.shares().any(|(key, _)| key == "network_mode")
    }

    /// Adds the dependencies that its namespaces mean. Source: compose-go `loader/normalize.go`.
    pub fn depend_on_shared(&mut self) {
        let shared: Vec<_> = self.shares().map(|(_, service)| service.to_owned()).collect();
        for service in shared {
            self.depends_on.entry(service).or_insert(Dependency { restart: true, ..Dependency::default() });
        }
    }
}
