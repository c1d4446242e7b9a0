//! Where things are when nobody says: the state directory, and the documents as the engine's host sees them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use composed_source::compose::ComposeOptions;
use composed_source::files::{HostDir, Source};
use composed_source::host::HostName;
use crd_schema::compose::FILE_NAMES;

use super::args::{Common, Compose};

/// Docker's own address, by the names it goes by.
const LOCAL: [&str; 2] = ["unix:///var/run/docker.sock", "unix:///run/docker.sock"];

/// Where memories are kept by default: one directory for each instance on each engine. `None` without a home.
pub fn state_dir(common: &Common) -> Option<PathBuf> {
    let root = if rustix::process::geteuid().is_root() {
        PathBuf::from("/var/lib/composed")
    } else if let Some(dir) = variable("XDG_STATE_HOME") {
        PathBuf::from(dir).join("composed")
    } else {
        PathBuf::from(variable("HOME")?).join(".local/state/composed")
    };
    // One that leads nowhere is told when it is connected to.
    let engine = common.address().unwrap_or_default().host;
    Some(root.join(room(&common.instance, engine.as_deref())))
}

/// One instance on one engine, as one word of a path.
fn room(instance: &str, engine: Option<&str>) -> String {
    let name = match engine.filter(|engine| !LOCAL.contains(engine)) {
        Some(engine) => format!("{instance}@{engine}"),
        None => instance.to_owned(),
    };
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-@".contains(c) { c } else { '_' };
    let name: String = name.chars().map(safe).collect();
    if name.starts_with('.') { format!("_{name}") } else { name }
}

/// The documents at `path` or in Compose files, as they are.
pub fn documents(path: Option<&Path>, compose: &Compose, common: &Common) -> Source {
    let compose = compose.clone();
    let first = compose.files.first().map(PathBuf::as_path);
    let path = path.or(first).unwrap_or_else(|| Path::new(".")).to_owned();
    let asked = ComposeOptions {
        files: compose.files,
        name: compose.project_name,
        profiles: compose.profiles,
        env_files: compose.env_files,
        variables: compose.variables.into_iter().collect(),
        allowed: compose.allowed,
        remove_orphans: compose.remove_orphans,
        home: variable("HOME"),
    };
    Source { path, compose: asked, host: HostDir::Same, name: host_name(common), known: BTreeSet::new() }
}

/// Whether somebody said where the documents are. If nobody did, this directory is meant, like `docker compose` has it: but
/// only with a Compose file in it.
pub fn named(path: Option<&Path>, compose: &Compose) -> Result<(), String> {
    let said = path.is_some() || !compose.files.is_empty();
    if said || FILE_NAMES.iter().any(|name| Path::new(name).is_file()) {
        return Ok(());
    }
    let names = FILE_NAMES.join(", ");
    Err(format!("there is no Compose file in this directory ({names}): give a PATH, or a file with -f FILE"))
}

/// The same, with what is known of where they are on the engine's host.
pub fn source(path: Option<&Path>, compose: &Compose, common: &Common) -> Source {
    let host = match &common.host_dir {
        Some(dir) => HostDir::At(std::path::absolute(dir).unwrap_or_else(|_| dir.clone())),
        None if in_container() => HostDir::Unknown,
        None => HostDir::Same,
    };
    Source { host, ..documents(path, compose, common) }
}

/// The name of this host. In a container the system's own is the container's.
pub fn host_name(common: &Common) -> HostName {
    match &common.host_name {
        Some(name) => HostName::Is(name.clone()),
        None if in_container() => HostName::Unknown,
        None => match rustix::system::uname().nodename().to_string_lossy().into_owned() {
            // What a host is called before it has been told its name.
            none if matches!(none.as_str(), "" | "localhost" | "(none)") => HostName::Unknown,
            name => HostName::Is(name),
        },
    }
}

/// Whether this process is in a container, by the marks that Docker and Podman leave.
fn in_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::room;

    #[test]
    fn each_instance_on_each_engine_has_a_room() {
        assert_eq!(room("default", None), "default");
        assert_eq!(room("default", Some("unix:///run/docker.sock")), "default");
        assert_eq!(room("blue", Some("tcp://10.0.0.1:2375")), "blue@tcp___10.0.0.1_2375");
        assert_eq!(room("../x", None), "_.._x");
    }
}
