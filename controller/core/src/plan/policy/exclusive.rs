//! Why two copies of a service cannot, or should not, run at once.

use std::collections::BTreeSet;

use crd_schema::{Mount, MountKind, Order, ServiceSpec};

use crate::model::{ImageState, Observed, Replica};

/// What a person can write where the reason does not hold.
const IF_SHARED: &str = "rollout.order: start-first if two may share it";

/// Why two copies of it cannot, or should not, run at once.
pub(super) fn reason(spec: &ServiceSpec) -> Option<String> {
    if let Some(port) = spec.ports.iter().find_map(|port| port.published) {
        return Some(format!("host port {port} can be published by one container at a time"));
    }
    if spec.network_mode.as_deref() == Some("host") {
        return Some("network_mode host: two copies would claim the same ports".to_owned());
    }
    let fixed_address = |attachment: &crd_schema::NetworkAttachment| {
        attachment.ipv4_address.is_some() || attachment.ipv6_address.is_some()
    };
    if spec.networks.iter().flatten().any(|(_, attachment)| fixed_address(attachment)) {
        return Some("a fixed network address can belong to one container at a time".to_owned());
    }
    let writes = |mount: &&Mount| mount.kind == MountKind::Volume && !mount.read_only;
    let volume = spec.volumes.iter().find(writes).map(|mount| mount.source.as_ref().unwrap_or(&mount.target));
    if spec.replicas.unwrap_or(1) > 1 {
        return None;
    }
    if let Some(volume) = volume {
        return Some(format!("one replica owns the data in volume {volume} ({IF_SHARED})"));
    }
    let place = &spec.volumes.iter().find(|mount| is_data_of_the_host(mount))?.target;
    Some(format!(
        "one replica owns the data in the host's directory at {place} ({IF_SHARED}; read_only: true if it writes nothing)"
    ))
}

/// Whether a replica may keep data there: a directory of the host that it may write to. What a path is cannot be seen from
/// everywhere (composed may be a container, the engine another machine), so its name in the container decides, and what is not
/// known to be a file or the system's is data: two of them on one directory would be worse than a gap.
fn is_data_of_the_host(mount: &Mount) -> bool {
    if mount.kind != MountKind::Bind || mount.read_only {
        return false;
    }
    let source = mount.source.as_deref().unwrap_or_default();
    !is_of_the_system(source) && !is_of_the_system(&mount.target) && !is_named_as_file(&mount.target)
}

/// Places of the system, and what of a host is commonly lent to a container.
fn is_of_the_system(path: &str) -> bool {
    const BELOW: [&str; 5] = ["/dev", "/proc", "/sys", "/lib/modules", "/tmp/.X11-unix"];
    const ITSELF: [&str; 9] = [
        "/",
        "/etc/localtime",
        "/etc/timezone",
        "/etc/hosts",
        "/etc/passwd",
        "/etc/group",
        "/etc/machine-id",
        "/run/dbus",
        "/run/udev",
    ];
    let path = path.strip_prefix("/var").filter(|rest| rest.starts_with("/run/")).unwrap_or(path);
    let below = |dir: &&str| path.strip_prefix(*dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    ITSELF.contains(&path) || BELOW.iter().any(below)
}

/// Whether the name is that of a file: it has the ending of one, or is one of the few that have none.
pub fn is_named_as_file(target: &str) -> bool {
    const ENDINGS: [&str; 34] = [
        "bash",
        "cert",
        "cfg",
        "cnf",
        "conf",
        "config",
        "crt",
        "css",
        "csv",
        "env",
        "html",
        "ini",
        "jar",
        "js",
        "json",
        "key",
        "lua",
        "pem",
        "php",
        "properties",
        "py",
        "rules",
        "sh",
        "so",
        "sock",
        "sql",
        "template",
        "tmpl",
        "toml",
        "txt",
        "war",
        "xml",
        "yaml",
        "yml",
    ];
    const NAMES: [&str; 5] = ["Caddyfile", "Corefile", "Dockerfile", "Procfile", "htpasswd"];
    const HIDDEN: [&str; 6] = ["env", "htaccess", "htpasswd", "netrc", "npmrc", "gitconfig"];
    let name = target.rsplit('/').next().unwrap_or_default();
    match name.rsplit_once('.') {
        Some(("", hidden)) => HIDDEN.contains(&hidden),
        Some((_, ending)) => ENDINGS.contains(&ending),
        None => NAMES.contains(&name),
    }
}

/// The image's own volumes are known only by those that run: without a name their data stays with one container, and what is
/// mounted there from the host is one replica's data, too.
pub(super) fn owns_data(spec: &ServiceSpec, there: &[Replica]) -> Option<String> {
    let live = || there.iter().filter(|replica| replica.state.is_live());
    if spec.replicas.unwrap_or(1) > 1 {
        return None;
    }
    if let Some(place) = live().find_map(|replica| replica.volumes.keys().next()) {
        return Some(format!(
            "one replica owns the data in its volume without a name at {place} (rollout.order: start-first if it may be left behind)"
        ));
    }
    let data: BTreeSet<&str> =
        live().flat_map(|replica| &replica.data).map(|place| place.trim_end_matches('/')).collect();
    let binds = spec.volumes.iter().filter(|mount| mount.kind == MountKind::Bind && !mount.read_only);
    let place = binds.map(|mount| mount.target.trim_end_matches('/')).find(|place| data.contains(place))?;
    Some(format!("one replica owns the data at {place} ({IF_SHARED})"))
}

/// What is not known yet of a service of which nothing runs: the volumes of an image that is not here, which would make its
/// rollouts stop-first.
pub(in crate::plan) fn unknown_volumes(spec: &ServiceSpec, observed: &Observed) -> Option<&'static str> {
    let asked = spec.rollout.as_ref().and_then(|rollout| rollout.order).unwrap_or_default();
    let known = matches!(observed.images.get(&spec.image), Some(ImageState::Present(_)));
    let live = observed.replicas.iter().any(|replica| replica.state.is_live());
    let open = asked == Order::Auto && spec.replicas.unwrap_or(1) == 1 && !known && !live;
    open.then_some("; its image is not here yet: if that has volumes of its own, stop-first")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_the_host_that_is_written_to_is_data() {
        let mount = |text: &str| {
            serde_json::from_value::<Mount>(serde_json::json!({
                "type": "bind",
                "source": text.split(':').next(),
                "target": text.split(':').nth(1),
                "read_only": text.ends_with(":ro"),
            }))
            .unwrap_or_else(|err| panic!("{text}: {err}"))
        };
        let data = [
            "/srv/data:/data",
            "/srv/data:/data/",
            "/srv/n8n:/home/node/.n8n",
            "/srv/pihole:/etc/pihole",
            "/srv/app.db:/app/app.db",
            "/srv/www/example.com:/var/www/html",
            "/runners:/runners",
            "/srv/pg:/var/lib/pgsql-15.2",
            "/srv/x:/opt/v1.0/",
            "/srv/conf.d:/data/conf.d",
            "/srv/p:/data/profile",
            "/usr/local/data:/data",
            "/etc/myapp/data:/data",
            "/tmp/app/data:/data",
            "/run/data:/data",
        ];
        for text in data {
            assert!(is_data_of_the_host(&mount(text)), "{text}");
        }
        let none = [
            "/srv/data:/data:ro",
            "/srv/config.yaml:/app/config.yaml",
            "/srv/Caddyfile:/etc/caddy/Caddyfile",
            "/srv/env:/app/.env",
            "/var/run/docker.sock:/var/run/docker.sock",
            "/etc/localtime:/etc/localtime",
            "/lib/modules:/lib/modules",
            "/dev/dri:/dev/dri",
            "/tmp/.X11-unix:/tmp/.X11-unix",
            "/run/docker.sock:/run/docker.sock",
            "/var/run/dbus:/var/run/dbus",
            "/:/host",
        ];
        for text in none {
            assert!(!is_data_of_the_host(&mount(text)), "{text}");
        }
    }
}
