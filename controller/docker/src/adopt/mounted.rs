//! What a container mounts: there are several ways to ask for the same, so what came of them is compared.

use std::collections::BTreeMap;

use bollard::models::{HostConfig, ImageConfig, Mount, MountPoint, MountType};

use super::super::mounts::is_anonymous;
use super::differences::{Differences, unlike};

/// What is mounted at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mounted {
    Bind {
        source: String,
        writes: bool,
    },
    Volume {
        name: String,
        writes: bool,
    },
    /// A volume without a name of its own.
    Anonymous {
        writes: bool,
    },
    Tmpfs {
        options: String,
    },
    Other,
}

pub(super) fn compare(
    all: &mut Differences,
    mounted: &[MountPoint],
    is: &HostConfig,
    ought: &HostConfig,
    image: &ImageConfig,
) {
    let mut has: BTreeMap<String, Mounted> = mounted.iter().filter_map(found).collect();
    has.extend(tmpfs(is));
    let mut wanted: BTreeMap<String, Mounted> = asked(ought);
    wanted.extend(tmpfs(ought));
    for place in image.volumes.iter().flatten() {
        wanted.entry(bare(place)).or_insert(Mounted::Anonymous { writes: true });
    }
    let mut differ = unlike(&has, &wanted);
    // Told by the mounts as they were asked for only.
    let (parts, wanted) = (parts(is), parts(ought));
    differ.extend(wanted.keys().chain(parts.keys()).filter(|place| parts.get(*place) != wanted.get(*place)).cloned());
    let propagates =
        |place: &str| mounted.iter().find(|one| one.destination.as_deref().is_some_and(|it| bare(it) == place));
    let (labelled, label) = (labels(is), labels(ought));
    differ
        .extend(label.keys().chain(labelled.keys()).filter(|place| labelled.get(*place) != label.get(*place)).cloned());
    let asked = propagation(ought).into_iter().filter(|(place, word)| {
        propagates(place).and_then(|one| one.propagation.as_ref()).is_some_and(|has| has != word)
    });
    differ.extend(asked.map(|(place, _)| place));
    differ.sort();
    differ.dedup();
    all.named("volumes", differ);
}

/// What is said of mounts beside what is mounted where: the part of a volume, its labels, what lies below a bind.
fn parts(config: &HostConfig) -> BTreeMap<String, String> {
    let said = |mount: &Mount| {
        let volume = mount.volume_options.clone().unwrap_or_default();
        let labels: BTreeMap<_, _> = volume.labels.into_iter().flatten().collect();
        let labels = Some(format!("{labels:?}")).filter(|_| !labels.is_empty());
        let bind = mount.bind_options.clone().unwrap_or_default();
        let below = [
            ("not recursive", bind.non_recursive),
            ("recursive: writable", bind.read_only_non_recursive),
            ("recursive: readonly", bind.read_only_force_recursive),
        ];
        let below = below.into_iter().filter(|(_, on)| *on == Some(true)).map(|(word, _)| word.to_owned());
        let part = volume.subpath.filter(|part| !part.is_empty());
        let all: Vec<String> = part.into_iter().chain(labels).chain(below).collect();
        Some((bare(mount.target.as_ref()?), all.join(" "))).filter(|(_, said)| !said.is_empty())
    };
    config.mounts.iter().flatten().filter_map(said).collect()
}

/// How mounts of binds are asked to propagate, where they are.
fn propagation(config: &HostConfig) -> BTreeMap<String, String> {
    const WORDS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];
    let long = config.mounts.iter().flatten().filter_map(|mount| {
        let word = mount.bind_options.as_ref()?.propagation?.to_string();
        Some((bare(mount.target.as_ref()?), word))
    });
    let short = said_of_binds(config, &WORDS).map(|(_, target, word)| (target, word));
    long.chain(short).filter(|(_, word)| !word.is_empty()).collect()
}

/// How `SELinux` is asked to label binds, where it is.
fn labels(config: &HostConfig) -> BTreeMap<String, String> {
    let of_host = said_of_binds(config, &["z", "Z"]).filter(|(source, ..)| source.starts_with('/'));
    of_host.map(|(_, target, word)| (target, word)).collect()
}

/// The binds (`source:target:options`) with one of these words among their options: source, target, word.
fn said_of_binds<'a>(
    config: &'a HostConfig,
    words: &'a [&str],
) -> impl Iterator<Item = (&'a str, String, String)> + use<'a> {
    config.binds.iter().flatten().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (source, target, options) = (parts.next()?, parts.next()?, parts.next()?);
        let word = options.split(',').find(|option| words.contains(option))?;
        Some((source, bare(target), word.to_owned()))
    })
}

fn found(point: &MountPoint) -> Option<(String, Mounted)> {
    let writes = point.rw.unwrap_or(true);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mounted = match point.typ.as_deref() {
        Some("bind") => Mounted::Bind { source: bare(&text(&point.source)), writes },
        Some("volume") => volume(text(&point.name), writes),
        // Compared as they were asked for: the engine does not tell their options here.
        Some("tmpfs") => return None,
        _ => Mounted::Other,
    };
    Some((bare(point.destination.as_ref()?), mounted))
}

/// One to which the engine gave its name is anonymous.
fn volume(name: String, writes: bool) -> Mounted {
    let anonymous = name.is_empty() || is_anonymous(&name);
    if anonymous { Mounted::Anonymous { writes } } else { Mounted::Volume { name, writes } }
}

/// The binds and mounts of a create call, but for the tmpfs among them.
fn asked(config: &HostConfig) -> BTreeMap<String, Mounted> {
    let bind = |line: &String| {
        let mut parts = line.splitn(3, ':');
        let (source, target) = (parts.next()?, parts.next()?);
        let writes = !parts.next().unwrap_or_default().split(',').any(|option| option == "ro");
        Some((bare(target), Mounted::Bind { source: bare(source), writes }))
    };
    let mount = |mount: &Mount| {
        let writes = !mount.read_only.unwrap_or(false);
        let source = mount.source.clone().unwrap_or_default();
        let mounted = match mount.typ {
            Some(MountType::BIND) => Mounted::Bind { source: bare(&source), writes },
            Some(MountType::VOLUME) => volume(source, writes),
            Some(MountType::TMPFS) => return None,
            _ => Mounted::Other,
        };
        Some((bare(mount.target.as_ref()?), mounted))
    };
    let binds = config.binds.iter().flatten().filter_map(bind);
    binds.chain(config.mounts.iter().flatten().filter_map(mount)).collect()
}

/// The two ways to ask for a tmpfs.
fn tmpfs(config: &HostConfig) -> BTreeMap<String, Mounted> {
    let short = config.tmpfs.iter().flatten();
    let short = short.map(|(place, options)| (bare(place), Mounted::Tmpfs { options: options.clone() }));
    let long = config.mounts.iter().flatten().filter(|mount| mount.typ == Some(MountType::TMPFS)).filter_map(|mount| {
        let options = mount.tmpfs_options.as_ref();
        let (size, mode) = (options.and_then(|all| all.size_bytes), options.and_then(|all| all.mode));
        let options = format!("{} {}", size.unwrap_or(0), mode.unwrap_or(0));
        Some((bare(mount.target.as_ref()?), Mounted::Tmpfs { options }))
    });
    short.chain(long).collect()
}

/// A path without a slash at its end.
fn bare(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.to_owned(),
    }
}
