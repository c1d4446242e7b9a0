//! What to say about a key that is not there: Compose's own that composed does not support, by name, and slips of the
//! pen by edit distance.

/// Why a key is not supported and what to do instead. `path` is where it was found, such as `spec.deploy`.
pub(crate) fn unsupported(path: &str, key: &str) -> Option<&'static str> {
    let (root, rest) = path.split_once('.').unwrap_or((path, ""));
    let table: &[(&str, &str)] = match (root, rest) {
        ("", _) => ROOT,
        ("spec", "") => SERVICE,
        ("spec", "deploy") => DEPLOY,
        ("spec", "deploy.resources.reservations" | "deploy.resources.limits") => RESOURCES,
        ("spec", "rollout") => ROLLOUT,
        ("spec", rest) if rest.starts_with("volumes[") => MOUNT,
        _ => return None,
    };
    table.iter().find(|(name, _)| *name == key).map(|(_, why)| *why)
}

const COMPOSE: &str = "this is a Compose file: name it compose.yaml or give it with -f (from git they are not read yet: leave it out with \
                       --git-path); in our own documents each service is one of its own: apiVersion, kind, metadata, spec";

const ROOT: &[(&str, &str)] = &[
    ("services", COMPOSE),
    ("version", COMPOSE),
    ("networks", "networks stand in the `spec` of a document of kind Project"),
    ("volumes", "volumes stand in the `spec` of a document of kind Project"),
    ("status", "composed writes the status; read it with `composed status`"),
    ("name", "write `metadata: {name: ...}`"),
];

const SECRETS: &str = "mount a file instead: `volumes: [\"./app.key:/run/secrets/app.key:ro\"]`";
const SWARM: &str = "it belongs to Swarm or to other systems; remove it";

const SERVICE: &[(&str, &str)] = &[
    ("attach", "it only concerns `docker compose up` in a terminal; remove it"),
    ("build", "composed builds no images: build and push it, then name it in `image`"),
    ("configs", "mount a file instead: `volumes: [\"./app.conf:/etc/app.conf:ro\"]`"),
    ("cpu_count", "it is for Windows; use `cpus`"),
    ("cpu_percent", "it is for Windows; use `cpus`"),
    ("credential_spec", "it is for Windows; remove it"),
    ("develop", "it is for `docker compose watch`; remove it"),
    ("extends", "write the keys out, or share them in the file with a YAML anchor: `<<: *base`"),
    ("external_links", "join the other service's network and use its name: `networks: [...]`"),
    ("isolation", "it is for Windows; remove it"),
    ("label_file", "write the labels in `labels`"),
    (
        "links",
        "services of a project find each other by name on a shared network; remove it, or use `networks` with `aliases`",
    ),
    ("models", "run the model as a service of its own, and give its address in `environment`"),
    ("name", "write the service's name in `metadata: {name: ...}`"),
    ("profiles", "every document is in force; leave the file out, or set `replicas: 0`"),
    ("provider", "composed runs containers only; remove it"),
    ("pull_refresh_after", "composed never pulls by the clock: a new revision is a new spec; name the new image"),
    ("scale", "write `replicas`"),
    ("secrets", SECRETS),
    ("use_api_socket", "mount the socket: `volumes: [\"/var/run/docker.sock:/var/run/docker.sock\"]`"),
    ("volumes_from", "name what the two share at both, in `volumes`"),
    // What Kubernetes calls them.
    ("args", "here the arguments are `command`, and what runs them is `entrypoint`"),
    ("containers", "a service has one container; write its `image` and keys directly in `spec`"),
    ("env", "write `environment`"),
    ("livenessProbe", "write `healthcheck`"),
    ("minReadySeconds", "write `rollout: {min_ready: 5s}`"),
    ("progressDeadlineSeconds", "write `rollout: {progress_deadline: 600s}`"),
    ("readinessProbe", "write `readiness: {http: {path: /, port: 80}}`, or a `healthcheck`"),
    ("resources", "write `cpus` and `mem_limit`, or `deploy: {resources: ...}`"),
    ("strategy", "write `rollout: {max_surge: 1, max_unavailable: 0}`"),
    ("template", "write the container's keys directly in `spec`"),
    ("terminationGracePeriodSeconds", "write `stop_grace_period: 30s`"),
    // What Compose keeps in `deploy`.
    ("update_config", "write `rollout`"),
    ("rollback_config", "write `rollout: {rollback: ...}`"),
];

const DEPLOY: &[(&str, &str)] = &[
    ("mode", "every service is replicated; write `replicas` in `spec`"),
    ("endpoint_mode", "services are found by DNS; remove it"),
    ("replicas", "write `replicas` in `spec`"),
    ("labels", "write `labels` in `spec`"),
    (
        "update_config",
        "write `rollout` in `spec`: parallelism is `max_surge`, monitor is `min_ready`, order and failure_action keep their names",
    ),
    ("rollback_config", "write `rollout: {rollback: ...}` in `spec`"),
    ("restart_policy", "write `restart` and `restart_policy` in `spec`"),
    ("placement", "there is one host; remove it"),
];

const RESOURCES: &[(&str, &str)] =
    &[("generic_resources", SWARM), ("pids", "only a limit on pids is known to the engine; write it in `limits`")];

const ROLLOUT: &[(&str, &str)] = &[
    ("parallelism", "write `max_surge` (start-first) or `max_unavailable` (stop-first)"),
    ("delay", "write `min_ready`: a replica must stay ready that long before the next one"),
    ("monitor", "write `min_ready`"),
];

const MOUNT: &[(&str, &str)] = &[
    ("consistency", "it only ever meant something on Docker Desktop; remove it"),
    ("image", "let a service that runs once copy it into a named volume, or build it into the image"),
    (
        "selinux",
        "label the directory once with `chcon -Rt container_file_t`, or use `security_opt: [\"label=disable\"]`",
    ),
];

/// The known word nearest to what was written, if it is near: the same but for case, `_` and `-`, or within a third of
/// its length in edits.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let bare = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
    if word.len() > 64 || known.len() > 1000 {
        return None; // no slip of the pen, or among too many to tell; and the distance would be dear
    }
    let wanted = bare(word);
    let scored = known.iter().map(|key| (distance(&wanted, &bare(key)), *key));
    scored.min().filter(|(edits, key)| *edits <= (key.len().max(3)) / 3).map(|(_, key)| key)
}

/// Edits from one word to the other: insert, delete, replace, or swap two neighbours.
///
/// `distance("helthcheck", "healthcheck") = 1`, `distance("prots", "ports") = 1`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut edits = (at(&last, j) + usize::from(x != y)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            if i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x) {
                edits = edits.min(at(&before, j - 1) + 1);
            }
            row.push(edits);
        }
        before = std::mem::replace(&mut last, row);
    }
    at(&last, b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let known = ["healthcheck", "ports", "image", "stop_grace_period", "user", "tty"];
        for (word, expected) in [
            ("helthcheck", Some("healthcheck")),
            ("prots", Some("ports")),
            ("Image", Some("image")),
            ("stopGracePeriod", Some("stop_grace_period")),
            ("usr", Some("user")),
            ("frobnicate", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, &known), expected, "{word}");
        }
    }
}
