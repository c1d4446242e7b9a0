//! What users of composed may say and read: one YAML document a service, and the status that comes back.
//!
//! Types, validation and the generated JSON Schema; no I/O and no clock. The envelope is Kubernetes' (`apiVersion`,
//! `kind`, `metadata`, `spec`); inside `spec` the language is the [Compose specification](https://compose-spec.io)'s
//! own, short and long forms alike, normalised into one shape while it is read. No variables are filled in here: a `$` is
//! a `$`.

mod advice;
mod check;
pub mod compose;
mod diagnostic;
pub mod edit;
mod forms;
mod mask;
mod names;
mod parse;
mod revision;
mod schema;
pub mod settings;
pub mod status;
mod types;
mod yaml;

pub use advice::nearest;
pub use check::{is_image_tag, is_project_name, is_service_name, split_registry};
pub use diagnostic::Diagnostic;
pub use names::{
    ContainerId, ImageDigest, ImageId, ImageRef, NetworkId, NetworkName, Revision, SpecDigest, VolumeName,
};
pub use parse::{MAX_FILE_BYTES, Parsed, parse, parse_bytes};
pub use schema::{schema, settings_schema};
pub use types::{
    attach::{Dependency, DependencyCondition, EnvFile, NetworkAttachment},
    deploy::{Deploy, Limits, Reservations, Resources},
    devices::{BlkioConfig, DeviceCount, DeviceRequest, ThrottleDevice, WeightDevice},
    environment::Environment,
    file::ContainerFile,
    front::{
        Drain, Front, FrontMode, FrontPort, FrontTimeouts, Generated, GeneratedFile, HaproxyDriver, ProxyProtocol,
        Sticky, Traffic,
    },
    health::{GrpcProbe, Healthcheck, Hook, HttpProbe, Readiness, Scheme, TcpProbe},
    hooks::{DeployHook, Hooks, OnInterrupt},
    mount::{BindOptions, Mount, MountKind, SelinuxLabel, TmpfsOptions, VolumeOptions},
    object::{
        ApiVersion, Object, Project, ProjectKind, ProjectMetadata, ProjectSpec, Service, ServiceKind, ServiceMetadata,
        fits,
    },
    port::{Port, PortMode, Protocol},
    project::{Ipam, IpamConfig, Network, Volume},
    rollout::{Canary, FailureAction, Order, Rollback, Rollout},
    runtime::{Device, Logging, PullPolicy, RestartPolicy, RestartRules, SwapLimit, Ulimit},
    scalar::{ByteSize, ComposeDuration, Decimal, IntOrPercent, Rounding, ScalarError, StatusCodes},
    service::ServiceSpec,
    update::{Update, UpdatePolicy},
};
pub use yaml::size_of_text;
