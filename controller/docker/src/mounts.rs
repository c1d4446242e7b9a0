//! The mounts of a create body. Pure.

use std::collections::BTreeMap;

use bollard::models::{
    Mount as EngineMount, MountBindOptions, MountBindOptionsPropagationEnum as Propagation, MountPoint,
    MountTmpfsOptions, MountType, MountVolumeOptions,
};
use composed_core::engine::{ActionContext, EngineError};
use crd_schema::{Mount, MountKind, SelinuxLabel, VolumeName, VolumeOptions};

use super::{
    errors::rejected,
    target_engine::{Engine, map},
};

/// Mounts in the two ways in which the engine takes them.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// `source:target:options`: the way that creates a missing host directory.
    pub(super) binds: Vec<String>,
    /// Everything else: here a missing host directory is an error.
    pub(super) mounts: Vec<EngineMount>,
}

/// Whether the engine gave a volume its name: 64 hexadecimal digits.
pub(super) fn is_anonymous(volume: &str) -> bool {
    volume.len() == 64 && volume.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Where a volume without a name of its own is mounted, and its name.
pub(super) fn anonymous(point: &MountPoint) -> Option<(String, VolumeName)> {
    let name = point.name.as_ref().filter(|name| point.typ.as_deref() == Some("volume") && is_anonymous(name))?;
    Some((point.destination.clone()?, VolumeName::new(name)))
}

/// Volumes of these names in place of those that the engine would make, wherever there is no other mount.
pub(super) fn inherit(all: &mut Mounts, volumes: &BTreeMap<String, VolumeName>) {
    for (place, volume) in volumes {
        let is_here = |target: &str| target.trim_end_matches('/') == place.trim_end_matches('/');
        let bound = all.binds.iter().any(|line| line.split(':').nth(1).is_some_and(is_here));
        match all.mounts.iter_mut().find(|mount| mount.target.as_deref().is_some_and(is_here)) {
            Some(mount) if mount.typ == Some(MountType::VOLUME) && mount.source.is_none() => {
                mount.source = Some(volume.to_string());
            }
            None if !bound => all.mounts.push(EngineMount {
                typ: Some(MountType::VOLUME),
                source: Some(volume.to_string()),
                target: Some(place.clone()),
                ..EngineMount::default()
            }),
            Some(_) | None => {}
        }
    }
}

/// The mounts of a service.
pub(super) fn of(mounts: &[Mount], context: &ActionContext, engine: Engine<'_>) -> Result<Mounts, EngineError> {
    let mut all = Mounts::default();
    for mount in mounts {
        let creates_path = mount.bind.as_ref().and_then(|bind| bind.create_host_path).unwrap_or(false);
        match mount.kind {
            // Only the short line says how SELinux is to label it.
            MountKind::Bind if (creates_path || is_labelled(mount)) && !narrowed(mount) => {
                all.binds.push(bind_line(mount)?);
            }
            MountKind::Bind => all.mounts.push(bind(mount, engine)?),
            MountKind::Volume => all.mounts.push(volume(mount, context, engine)?),
            MountKind::Tmpfs => all.mounts.push(tmpfs(mount)),
        }
    }
    Ok(all)
}

fn is_labelled(mount: &Mount) -> bool {
    mount.bind.as_ref().is_some_and(|bind| bind.selinux.is_some())
}

fn bind_line(mount: &Mount) -> Result<String, EngineError> {
    let source = host_path(mount)?;
    if source.contains(':') || mount.target.contains(':') {
        return Err(rejected(format!(
            "`volumes`: the engine cannot create `{source}`, since its path or target has a colon; create it yourself \
             and set `create_host_path: false`"
        )));
    }
    let propagation = mount.bind.as_ref().and_then(|bind| bind.propagation.as_deref());
    let label = mount.bind.as_ref().and_then(|bind| bind.selinux).map(SelinuxLabel::word);
    let options =
        [mount.read_only.then_some("ro"), propagation, label].into_iter().flatten().collect::<Vec<_>>().join(",");
    let colon = if options.is_empty() { "" } else { ":" };
    Ok(format!("{source}:{}{colon}{options}", mount.target))
}

/// Whether what is mounted below it is to be left out or to be another way: the short line cannot say that.
fn narrowed(mount: &Mount) -> bool {
    let word = mount.bind.as_ref().and_then(|bind| bind.recursive.as_deref());
    word.is_some_and(|word| word != "enabled")
}

/// Source: compose v5 `pkg/compose/create.go`, `buildBindOption`.
fn bind(mount: &Mount, engine: Engine<'_>) -> Result<EngineMount, EngineError> {
    let asked = mount.bind.clone().unwrap_or_default();
    let recursive = asked.recursive.as_deref().unwrap_or_default();
    if matches!(recursive, "writable" | "readonly") {
        engine.since(44, &format!("volumes.bind.recursive: {recursive}"))?;
    }
    // Older engines refuse a path that is not there, in their own words.
    let creates = asked.create_host_path.unwrap_or(false) && engine.minor >= 42;
    let options = MountBindOptions {
        propagation: asked.propagation.as_deref().map(propagation_of).transpose()?,
        non_recursive: (recursive == "disabled").then_some(true),
        create_mountpoint: creates.then_some(true),
        read_only_non_recursive: (recursive == "writable").then_some(true),
        read_only_force_recursive: (recursive == "readonly").then_some(true),
    };
    Ok(EngineMount {
        source: Some(host_path(mount)?.to_owned()),
        bind_options: (options != MountBindOptions::default()).then_some(options),
        ..plain(mount, MountType::BIND)
    })
}

fn volume(mount: &Mount, context: &ActionContext, engine: Engine<'_>) -> Result<EngineMount, EngineError> {
    let source = match &mount.source {
        None => None,
        Some(key) => match context.volumes.get(key) {
            Some((name, _)) => Some(name.to_string()),
            None => return Err(rejected(format!("the volume `{key}` is not declared in the project"))),
        },
    };
    let options = mount.volume.clone().unwrap_or_default();
    if options.subpath.is_some() {
        engine.since(45, "volumes.volume.subpath")?;
    }
    Ok(EngineMount {
        source,
        volume_options: (options != VolumeOptions::default()).then(|| MountVolumeOptions {
            no_copy: options.nocopy.then_some(true),
            subpath: options.subpath,
            labels: map(options.labels),
            ..MountVolumeOptions::default()
        }),
        ..plain(mount, MountType::VOLUME)
    })
}

fn tmpfs(mount: &Mount) -> EngineMount {
    EngineMount {
        tmpfs_options: mount.tmpfs.as_ref().map(|options| MountTmpfsOptions {
            size_bytes: options.size.and_then(|size| i64::try_from(size.get()).ok()),
            mode: options.mode.map(i64::from),
            options: None,
        }),
        ..plain(mount, MountType::TMPFS)
    }
}

fn plain(mount: &Mount, typ: MountType) -> EngineMount {
    EngineMount {
        typ: Some(typ),
        target: Some(mount.target.clone()),
        read_only: mount.read_only.then_some(true),
        ..EngineMount::default()
    }
}

fn host_path(mount: &Mount) -> Result<&str, EngineError> {
    let missing = || rejected(format!("`volumes`: the bind on `{}` has no source", mount.target));
    mount.source.as_deref().ok_or_else(missing)
}

fn propagation_of(word: &str) -> Result<Propagation, EngineError> {
    Ok(match word {
        "private" => Propagation::PRIVATE,
        "rprivate" => Propagation::RPRIVATE,
        "shared" => Propagation::SHARED,
        "rshared" => Propagation::RSHARED,
        "slave" => Propagation::SLAVE,
        "rslave" => Propagation::RSLAVE,
        _ => return Err(rejected(format!("`volumes`: unknown bind propagation `{word}`"))),
    })
}
