//! What a container mounts, as a document would ask for it.

use bollard::models::MountType;
use composed_core::engine::DesiredContainer;
use crd_schema::{BindOptions, ByteSize, Mount, MountKind, SelinuxLabel, TmpfsOptions, VolumeOptions};

use super::super::super::mounts::{anonymous, is_anonymous};
use super::made::{Made, Untold};

/// The mounts.
///
/// # Errors
/// One is of a volume that has no name in the project's files, or of a kind that no file asks for.
pub(super) fn of(made: Made<'_>, asked: &DesiredContainer) -> Result<Vec<Mount>, Untold> {
    let host = made.host();
    let mut all = Vec::new();
    for line in host.binds.iter().flatten() {
        all.push(bind(made, asked, line)?);
    }
    for mount in host.mounts.iter().flatten() {
        all.push(long(made, asked, mount)?);
    }
    // Those that a document asks for without a source are told by what came of them only.
    let points = made.container.mounts.iter().flatten();
    for (target, _) in points.filter_map(anonymous) {
        let of_image = made.image.volumes.iter().flatten().any(|place| same(place, &target));
        if !of_image && !all.iter().any(|mount| same(&mount.target, &target)) {
            all.push(Mount { target, ..Mount::default() });
        }
    }
    Ok(all)
}

fn same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// `source:target[:options]`, the way in which Compose asks for what may be missing on the host.
fn bind(made: Made<'_>, asked: &DesiredContainer, line: &str) -> Result<Mount, Untold> {
    let mut parts = line.splitn(3, ':');
    let (source, target) = parts.next().zip(parts.next()).ok_or(Untold)?;
    let mut mount = Mount { target: target.to_owned(), ..Mount::default() };
    let mut options = BindOptions { create_host_path: Some(true), ..BindOptions::default() };
    for option in parts.next().unwrap_or_default().split(',') {
        match option {
            "ro" => mount.read_only = true,
            "" | "rw" => {}
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                options.propagation = Some(option.to_owned());
            }
            "z" => options.selinux = Some(SelinuxLabel::Shared),
            "Z" => options.selinux = Some(SelinuxLabel::Private),
            "nocopy" => mount.volume = Some(VolumeOptions { nocopy: true, ..VolumeOptions::default() }),
            _ => return Err(Untold),
        }
    }
    if source.starts_with('/') {
        (mount.kind, mount.source, mount.bind) = (MountKind::Bind, Some(source.to_owned()), Some(options));
    } else {
        mount.source = volume(made, asked, source)?;
    }
    Ok(mount)
}

fn long(made: Made<'_>, asked: &DesiredContainer, mount: &bollard::models::Mount) -> Result<Mount, Untold> {
    let source = mount.source.clone().unwrap_or_default();
    let plain = Mount {
        target: mount.target.clone().ok_or(Untold)?,
        read_only: mount.read_only.unwrap_or(false),
        ..Mount::default()
    };
    match mount.typ.ok_or(Untold)? {
        MountType::BIND => {
            let options = mount.bind_options.clone().unwrap_or_default();
            // What lies below it is told in words that only newer engines have.
            let narrowed = [options.non_recursive, options.read_only_non_recursive, options.read_only_force_recursive];
            if narrowed.contains(&Some(true)) {
                return Err(Untold);
            }
            let bind = BindOptions {
                propagation: options.propagation.map(|word| word.to_string()).filter(|word| !word.is_empty()),
                create_host_path: Some(options.create_mountpoint.unwrap_or(false)),
                recursive: None,
                selinux: None,
            };
            Ok(Mount { kind: MountKind::Bind, source: Some(source), bind: Some(bind), ..plain })
        }
        MountType::VOLUME => {
            let options = mount.volume_options.clone().unwrap_or_default();
            let options = VolumeOptions {
                nocopy: options.no_copy.unwrap_or(false),
                subpath: options.subpath.filter(|path| !path.is_empty()),
                labels: options.labels.unwrap_or_default().into_iter().collect(),
            };
            let volume_options = (options != VolumeOptions::default()).then_some(options);
            Ok(Mount { source: volume(made, asked, &source)?, volume: volume_options, ..plain })
        }
        MountType::TMPFS => {
            let options = mount.tmpfs_options.clone().unwrap_or_default();
            let size = options.size_bytes.and_then(|size| u64::try_from(size).ok()).filter(|size| *size > 0);
            let bits = options.mode.and_then(|bits| u32::try_from(bits).ok()).filter(|bits| *bits > 0);
            let tmpfs = TmpfsOptions { size: size.map(ByteSize), mode: bits };
            Ok(Mount { kind: MountKind::Tmpfs, tmpfs: Some(tmpfs), ..plain })
        }
        _ => Err(Untold),
    }
}

/// The key of a volume in the files; `None` of one without a name of its own.
fn volume(made: Made<'_>, asked: &DesiredContainer, name: &str) -> Result<Option<String>, Untold> {
    if name.is_empty() || is_anonymous(name) {
        return Ok(None);
    }
    let declared = asked.context.volumes.iter().find(|(_, (known, _))| *known == *name).map(|(key, _)| key.clone());
    declared.or_else(|| made.key(name)).map(Some).ok_or(Untold)
}
