//! Every supported key in its short and its long forms: what is written on the left is the shape on the right.

use crd_schema::{Object, ServiceSpec, parse};
use serde_json::{Value, json};

const HEAD: &str =
    "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {project: shop, name: web}\nspec:\n  image: x\n";

/// The spec of a service with these further lines.
pub(crate) fn spec(lines: &str) -> ServiceSpec {
    let body: String = lines.lines().map(|line| format!("  {line}\n")).collect();
    let parsed =
        parse("web.yaml", &format!("{HEAD}{body}")).unwrap_or_else(|problems| panic!("{lines}\n{}", problems[0]));
    match &parsed[0].object {
        Object::Service(service) => service.spec.clone(),
        Object::Project(_) => panic!("no service"),
    }
}

/// What is written, the key it ends up under, and its normalised value.
pub(crate) fn cases() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("replicas: 3", "replicas", json!(3)),
        ("command: sleep 'a b' 10", "command", json!(["sleep", "a b", "10"])),
        ("command: [sleep, '10']", "command", json!(["sleep", "10"])),
        ("command: []", "command", json!([])),
        ("command: ''", "command", json!([])),
        ("command:", "command", Value::Null),
        ("entrypoint: /bin/app -v", "entrypoint", json!(["/bin/app", "-v"])),
        ("entrypoint: ['']", "entrypoint", json!([""])),
        (
            "environment: {A: 1.10, B: true, C: 'x', D: 0x1F, E: 010, F: '', G: no, H: 1_000, I: 2001-01-01}",
            "environment",
            json!({"A": "1.10", "B": "true", "C": "x", "D": "0x1F", "E": "010", "F": "", "G": "no", "H": "1_000", "I": "2001-01-01"}),
        ),
        ("unset_environment: [LANG]", "unset_environment", json!(["LANG"])),
        ("environment: ['A=1', 'B=', 'C=a=b']", "environment", json!({"A": "1", "B": "", "C": "a=b"})),
        ("env_file: app.env", "env_file", json!([{"path": "app.env"}])),
        (
            "env_file: [a.env, {path: b.env, required: false, format: raw}]",
            "env_file",
            json!([{"path": "a.env"}, {"path": "b.env", "required": false, "format": "raw"}]),
        ),
        ("labels: {a.b: c, n: 1, empty: null}", "labels", json!({"a.b": "c", "n": "1", "empty": ""})),
        ("labels: [a.b=c, bare]", "labels", json!({"a.b": "c", "bare": ""})),
        ("annotations: {a: b}", "annotations", json!({"a": "b"})),
        ("annotations: [a=b]", "annotations", json!({"a": "b"})),
        ("networks: [front, back]", "networks", json!({"back": {}, "front": {}})),
        (
            "networks: {front: , back: {aliases: [w], ipv4_address: 10.0.0.2, ipv6_address: '::2', mac_address: 'aa:bb:cc:dd:ee:ff', link_local_ips: [169.254.1.1], priority: -3}}",
            "networks",
            json!({"front": {}, "back": {"aliases": ["w"], "ipv4_address": "10.0.0.2", "ipv6_address": "::2",
                "mac_address": "aa:bb:cc:dd:ee:ff", "link_local_ips": ["169.254.1.1"], "priority": -3}}),
        ),
        ("networks: {}", "networks", json!({})),
        ("network_mode: none", "network_mode", json!("none")),
        (
            "volumes: ['./conf:/etc/app:ro']",
            "volumes",
            json!([{"type": "bind", "source": "./conf", "target": "/etc/app", "read_only": true, "bind": {"create_host_path": true}}]),
        ),
        (
            "volumes: ['/srv:/srv:rw,rslave']",
            "volumes",
            json!([{"type": "bind", "source": "/srv", "target": "/srv", "bind": {"create_host_path": true, "propagation": "rslave"}}]),
        ),
        (
            "volumes: ['data:/data', '/anonymous', 'cold:/cold:nocopy']",
            "volumes",
            json!([{"type": "volume", "source": "data", "target": "/data"}, {"type": "volume", "target": "/anonymous"},
                {"type": "volume", "source": "cold", "target": "/cold", "volume": {"nocopy": true}}]),
        ),
        (
            "volumes: [{type: tmpfs, target: /t, tmpfs: {size: 64m, mode: 0o1777}}, {type: bind, source: /a, target: /a, bind: {propagation: shared}}, {type: volume, source: v, target: /v, read_only: true, volume: {nocopy: true, subpath: s}}]",
            "volumes",
            json!([{"type": "tmpfs", "target": "/t", "tmpfs": {"size": "64m", "mode": "0o1777"}},
                {"type": "bind", "source": "/a", "target": "/a", "bind": {"propagation": "shared"}},
                {"type": "volume", "source": "v", "target": "/v", "read_only": true, "volume": {"nocopy": true, "subpath": "s"}}]),
        ),
        (
            "ports: [80, '443', '8080:81/udp', '127.0.0.1:9000:90', '[::1]:9001:91', '127.0.0.1::92', '100-101', '7000-7001:8000-8001/sctp']",
            "ports",
            json!([{"target": 80}, {"target": 443}, {"target": 81, "published": 8080, "protocol": "udp"},
                {"target": 90, "published": 9000, "host_ip": "127.0.0.1"}, {"target": 91, "published": 9001, "host_ip": "::1"},
                {"target": 92, "host_ip": "127.0.0.1"}, {"target": 100}, {"target": 101},
                {"target": 8000, "published": 7000, "protocol": "sctp"}, {"target": 8001, "published": 7001, "protocol": "sctp"}]),
        ),
        (
            "ports: [{target: 80, published: '8080', host_ip: 127.0.0.1, protocol: tcp, name: web, app_protocol: http, mode: host}]",
            "ports",
            json!([{"target": 80, "published": 8080, "host_ip": "127.0.0.1", "name": "web", "app_protocol": "http", "mode": "host"}]),
        ),
        ("expose: [80, '8000-8010/udp']", "expose", json!(["80", "8000-8010/udp"])),
        ("stop_signal: SIGQUIT", "stop_signal", json!("SIGQUIT")),
        ("stop_signal: '15'", "stop_signal", json!("15")),
        ("stop_grace_period: 90s", "stop_grace_period", json!("1m30s")),
        ("stop_grace_period: 1.5s", "stop_grace_period", json!("1s500ms")),
        ("restart: no", "restart", json!("no")),
        ("restart: always", "restart", json!("always")),
        ("restart: on-failure", "restart", json!("on-failure")),
        ("restart: on-failure:3", "restart", json!("on-failure:3")),
        ("restart: unless-stopped", "restart", json!("unless-stopped")),
        ("restart_policy: {delay: 5000ms, window: 2m}", "restart_policy", json!({"delay": "5s", "window": "2m"})),
        ("user: '1000:1000'", "user", json!("1000:1000")),
        ("working_dir: /app", "working_dir", json!("/app")),
        ("hostname: web", "hostname", json!("web")),
        ("domainname: example.org", "domainname", json!("example.org")),
        (
            "extra_hosts: ['a=10.0.0.1', 'b:10.0.0.2', 'c:[::1]', 'd=host-gateway']",
            "extra_hosts",
            json!(["a:10.0.0.1", "b:10.0.0.2", "c:::1", "d:host-gateway"]),
        ),
        (
            "extra_hosts: {a: 10.0.0.1, b: [10.0.0.2, '::1']}",
            "extra_hosts",
            json!(["a:10.0.0.1", "b:10.0.0.2", "b:::1"]),
        ),
        ("dns: 8.8.8.8", "dns", json!(["8.8.8.8"])),
        ("dns: [8.8.8.8, 9.9.9.9]", "dns", json!(["8.8.8.8", "9.9.9.9"])),
        ("dns_search: example.org", "dns_search", json!(["example.org"])),
        ("dns_search: [a, b]", "dns_search", json!(["a", "b"])),
        ("dns_opt: [use-vc]", "dns_opt", json!(["use-vc"])),
        ("cap_add: [NET_ADMIN]", "cap_add", json!(["NET_ADMIN"])),
        ("cap_drop: [ALL]", "cap_drop", json!(["ALL"])),
        ("security_opt: ['no-new-privileges:true']", "security_opt", json!(["no-new-privileges:true"])),
        ("group_add: [mail, 1000]", "group_add", json!(["mail", "1000"])),
        ("privileged: true", "privileged", json!(true)),
        ("read_only: true", "read_only", json!(true)),
        ("tty: true", "tty", json!(true)),
        ("tty: false", "tty", Value::Null),
        ("stdin_open: true", "stdin_open", json!(true)),
        ("tmpfs: /run", "tmpfs", json!(["/run"])),
        ("tmpfs: [/run, '/tmp:size=64m']", "tmpfs", json!(["/run", "/tmp:size=64m"])),
        ("shm_size: 64m", "shm_size", json!("64m")),
        ("shm_size: 1024", "shm_size", json!("1k")),
        ("shm_size: 1.5GB", "shm_size", json!("1536m")),
        ("shm_size: 1000b", "shm_size", json!("1000")),
        ("sysctls: {net.core.somaxconn: 1024}", "sysctls", json!({"net.core.somaxconn": "1024"})),
        ("sysctls: [net.core.somaxconn=1024]", "sysctls", json!({"net.core.somaxconn": "1024"})),
        (
            "ulimits: {nproc: 65535, memlock: -1, nofile: {soft: 1, hard: -1}}",
            "ulimits",
            json!({"nproc": {"soft": 65535, "hard": 65535}, "memlock": {"soft": -1, "hard": -1}, "nofile": {"soft": 1, "hard": -1}}),
        ),
        (
            "devices: ['/dev/a', '/dev/a:/dev/b', '/dev/a:/dev/b:r', '/dev/a:rw', {source: /dev/c}]",
            "devices",
            json!([{"source": "/dev/a", "target": "/dev/a", "permissions": "rwm"}, {"source": "/dev/a", "target": "/dev/b", "permissions": "rwm"},
                {"source": "/dev/a", "target": "/dev/b", "permissions": "r"}, {"source": "/dev/a", "target": "/dev/a", "permissions": "rw"},
                {"source": "/dev/c", "target": "/dev/c", "permissions": "rwm"}]),
        ),
        ("device_cgroup_rules: ['c 1:3 mr']", "device_cgroup_rules", json!(["c 1:3 mr"])),
        ("init: false", "init", json!(false)),
        (
            "logging: {driver: json-file, options: {max-size: 10m, max-file: 3}}",
            "logging",
            json!({"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}),
        ),
        ("cpus: 0.50", "cpus", json!("0.50")),
        ("cpus: '2'", "cpus", json!("2")),
        ("cpu_shares: 512", "cpu_shares", json!(512)),
        ("cpu_rt_period: 1000", "cpu_rt_period", json!(1000)),
        ("cpu_rt_runtime: 500", "cpu_rt_runtime", json!(500)),
        (
            "blkio_config: {weight: 300, weight_device: [{path: /dev/sda, weight: 400}], device_read_bps: [{path: /dev/sda, rate: 12mb}]}",
            "blkio_config",
            json!({"weight": 300, "weight_device": [{"path": "/dev/sda", "weight": 400}], "device_read_bps": [{"path": "/dev/sda", "rate": "12m"}]}),
        ),
        (
            "gpus: [{count: all, options: {a: b}}, {count: 2, capabilities: [compute], driver: nvidia}, {device_ids: [GPU-1]}]",
            "gpus",
            json!([{"count": -1, "options": {"a": "b"}}, {"count": 2, "capabilities": ["compute"], "driver": "nvidia"}, {"device_ids": ["GPU-1"]}]),
        ),
        ("cpu_quota: 50000", "cpu_quota", json!(50000)),
        ("cpu_period: 100000", "cpu_period", json!(100_000)),
        ("cpuset: '0-2,4'", "cpuset", json!("0-2,4")),
        ("mem_limit: 1gb", "mem_limit", json!("1g")),
        ("mem_reservation: 64k", "mem_reservation", json!("64k")),
        ("memswap_limit: -1", "memswap_limit", json!(-1)),
        ("mem_limit: 1g\nmemswap_limit: 2g", "memswap_limit", json!("2g")),
        ("mem_swappiness: 10", "mem_swappiness", json!(10)),
        ("oom_score_adj: -500", "oom_score_adj", json!(-500)),
        ("oom_kill_disable: true", "oom_kill_disable", json!(true)),
        ("pids_limit: -1", "pids_limit", json!(-1)),
        (
            "deploy: {resources: {limits: {cpus: '0.5', memory: 64m, pids: 10}, reservations: {cpus: 0.25, memory: 32m}}}",
            "deploy",
            json!({"resources": {"limits": {"cpus": "0.5", "memory": "64m", "pids": 10}, "reservations": {"cpus": "0.25", "memory": "32m"}}}),
        ),
        ("pull_policy: always", "pull_policy", json!("always")),
        ("pull_policy: if_not_present", "pull_policy", json!("missing")),
        ("platform: linux/arm64", "platform", json!("linux/arm64")),
        ("depends_on: [db]", "depends_on", json!({"db": {"condition": "service_started"}})),
        (
            "depends_on: {db: {condition: service_healthy, restart: true, required: false}, init: {condition: service_completed_successfully}}",
            "depends_on",
            json!({"db": {"condition": "service_healthy", "restart": true, "required": false}, "init": {"condition": "service_completed_successfully"}}),
        ),
        (
            "healthcheck: {test: curl -f localhost, interval: 5s, timeout: 3s, start_period: 10s, start_interval: 1s, retries: 3}",
            "healthcheck",
            json!({"test": ["CMD-SHELL", "curl -f localhost"], "interval": "5s", "timeout": "3s", "start_period": "10s", "start_interval": "1s", "retries": 3}),
        ),
        ("healthcheck: {test: [CMD, /app, check]}", "healthcheck", json!({"test": ["CMD", "/app", "check"]})),
        ("healthcheck: {test: [NONE]}", "healthcheck", json!({"test": ["NONE"]})),
        ("healthcheck: {interval: 1s}", "healthcheck", json!({"interval": "1s"})),
        ("healthcheck: {disable: true}", "healthcheck", json!({"disable": true})),
        ("container_name: web", "container_name", json!("web")),
        ("ipc: host", "ipc", json!("host")),
        ("pid: host", "pid", json!("host")),
        ("userns_mode: host", "userns_mode", json!("host")),
        ("cgroup: private", "cgroup", json!("private")),
        ("cgroup_parent: m-executor", "cgroup_parent", json!("m-executor")),
        ("runtime: runsc", "runtime", json!("runsc")),
        ("mac_address: 'aa:bb:cc:dd:ee:ff'", "mac_address", json!("aa:bb:cc:dd:ee:ff")),
        ("uts: host", "uts", json!("host")),
        ("storage_opt: {size: 1G}", "storage_opt", json!({"size": "1G"})),
        ("drain_timeout: 250ms", "drain_timeout", json!("250ms")),
        (
            "rollout: {order: auto, max_surge: 1, max_unavailable: 25%, min_ready: 5s, progress_deadline: 600s, failure_action: rollback}",
            "rollout",
            json!({"order": "auto", "max_surge": 1, "max_unavailable": "25%", "min_ready": "5s", "progress_deadline": "10m", "failure_action": "rollback"}),
        ),
        (
            "rollout: {order: recreate, failure_action: continue, max_failure_ratio: 0.25, rollback: {order: start-first, max_surge: 2, min_ready: 1s}}",
            "rollout",
            json!({"order": "recreate", "failure_action": "continue", "max_failure_ratio": "0.25", "rollback": {"order": "start-first", "max_surge": 2, "min_ready": "1s"}}),
        ),
        ("rollout: {canary: {weight: 10, hold: 5m}}", "rollout", json!({"canary": {"weight": 10, "hold": "5m"}})),
        ("update: digest", "update", json!({"policy": "digest"})),
        ("update: none", "update", json!({"policy": "none"})),
        (
            "update: {semver: ~1.4, interval: 300s, cooldown: 10m}",
            "update",
            json!({"semver": "~1.4", "interval": "5m", "cooldown": "10m"}),
        ),
        (
            "readiness: {http: {path: /healthz, port: 8080, scheme: https, host: shop, status: 200-299}, period: 250ms, timeout: 1s, success_threshold: 2, failure_threshold: 5}",
            "readiness",
            json!({"http": {"path": "/healthz", "port": 8080, "scheme": "https", "host": "shop", "status": "200-299"}, "period": "250ms", "timeout": "1s", "success_threshold": 2, "failure_threshold": 5}),
        ),
        ("readiness: {tcp: {port: 5432}}", "readiness", json!({"tcp": {"port": 5432}})),
        (
            "readiness: {http: {path: /, port: 80, status: 204}}",
            "readiness",
            json!({"http": {"path": "/", "port": 80, "status": "204"}}),
        ),
        (
            "readiness: {grpc: {port: 50051, service: shop}}",
            "readiness",
            json!({"grpc": {"port": 50051, "service": "shop"}}),
        ),
        (
            "pre_stop: [{command: [/app, flush]}, {command: sh -c 'a b', user: root, privileged: true, working_dir: /, environment: {A: 1}}]",
            "pre_stop",
            json!([{"command": ["/app", "flush"]}, {"command": ["sh", "-c", "a b"], "user": "root", "privileged": true, "working_dir": "/", "environment": {"A": "1"}}]),
        ),
        (
            "files: [{path: /etc/a, content: b}, {path: /run/secrets/t, content: c, uid: 1, gid: 2, mode: 0400}]",
            "files",
            json!([{"path": "/etc/a", "content": "b"}, {"path": "/run/secrets/t", "content": "c", "uid": 1, "gid": 2, "mode": "0o400"}]),
        ),
        (
            "post_start: [{command: sh -c 'a b', user: root}]",
            "post_start",
            json!([{"command": ["sh", "-c", "a b"], "user": "root"}]),
        ),
        ("paused: true", "paused", json!(true)),
        (
            "hooks: {pre_deploy: {command: /app migrate, environment: [A=1], timeout: 600s, on_interrupt: rerun}, post_deploy: {image: curl, entrypoint: []}}",
            "hooks",
            json!({"pre_deploy": {"command": ["/app", "migrate"], "environment": {"A": "1"}, "timeout": "10m", "on_interrupt": "rerun"}, "post_deploy": {"image": "curl", "entrypoint": []}}),
        ),
        ("expose: ['80']\nfront: http", "front", json!({"mode": "http"})),
        (
            "front: {mode: tcp, image: 'haproxy:2.6', ports: {8080: {mode: http}, 9090: null}, proxy_protocol: v2, accept_proxy: true, max_connections: 100, timeouts: {connect: 1s, client: 2m, server: 120s, queue: 500ms, http_keep_alive: 5s}, sticky: {cookie: SRV}}",
            "front",
            json!({"mode": "tcp", "image": "haproxy:2.6", "ports": {"8080": {"mode": "http"}, "9090": {}}, "proxy_protocol": "v2", "accept_proxy": true, "max_connections": 100, "timeouts": {"connect": "1s", "client": "2m", "server": "2m", "queue": "500ms", "http_keep_alive": "5s"}, "sticky": {"cookie": "SRV"}}),
        ),
        (
            "traffic: {haproxy: {socket: /run/haproxy/admin.sock, backend: web, server_port: 8080, network: back, proxy_protocol: v1}}",
            "traffic",
            json!({"haproxy": {"socket": "/run/haproxy/admin.sock", "backend": "web", "server_port": 8080, "network": "back", "proxy_protocol": "v1"}}),
        ),
    ]
}

#[test]
fn each_key_is_normalised() {
    for (written, key, expected) in cases() {
        let value = serde_json::to_value(spec(written)).unwrap();
        assert_eq!(value.get(key).unwrap_or(&Value::Null), &expected, "{written}");
    }
}

#[test]
fn each_key_of_the_spec_has_a_case() {
    let schema = crd_schema::schema();
    let keys = schema["$defs"]["ServiceSpec"]["properties"].as_object().unwrap().keys();
    let cases = cases();
    for key in keys.filter(|key| *key != "image") {
        assert!(cases.iter().any(|(_, of, _)| of == key), "no case for {key}");
    }
}

#[test]
fn nothing_said_is_nothing_serialised() {
    assert_eq!(serde_json::to_value(spec("")).unwrap(), json!({"image": "x"}));
}

#[test]
fn debug_hides_the_environment() {
    let text =
        format!("{:?}", spec("environment: {PASSWORD: hunter2}\npre_stop: [{command: [a], environment: [B=hunter2]}]"));
    assert!(text.contains("PASSWORD") && !text.contains("hunter2"), "{text}");
    let text = format!("{:?}", spec("files: [{path: /run/secrets/t, content: hunter2}]"));
    assert!(text.contains("/run/secrets/t") && !text.contains("hunter2"), "{text}");
}

#[test]
fn extension_keys_are_allowed_where_compose_allows_them() {
    let spec = spec(
        "x-note: {a: b}\nhealthcheck: {x-why: c, interval: 1s}\nports: [{target: 80, x-y: 1}]\nlabels: {x-label: kept}",
    );
    assert_eq!(
        serde_json::to_value(spec).unwrap(),
        json!({"image": "x", "healthcheck": {"interval": "1s"}, "ports": [{"target": 80}], "labels": {"x-label": "kept"}})
    );
}

#[test]
fn anchors_and_merges_are_resolved() {
    let spec = spec("x-env: &env {A: 1.0, B: two}\nenvironment: {<<: *env, B: three}\nlabels: *env");
    let value = serde_json::to_value(spec).unwrap();
    assert_eq!(value["environment"], json!({"A": "1.0", "B": "three"}));
    assert_eq!(value["labels"], json!({"A": "1.0", "B": "two"}));
}

#[test]
fn a_project_has_networks_volumes_and_defaults() {
    let text = "apiVersion: composed.dev/v1\nkind: Project\nmetadata: {name: shop}\nspec:\n  networks:\n    front:\n    back:\n      driver: bridge\n      driver_opts: {com.docker.network.driver.mtu: 1400}\n      labels: [a=b]\n      internal: true\n      attachable: true\n      enable_ipv6: true\n      ipam:\n        driver: default\n        config: [{subnet: 10.5.0.0/16, gateway: 10.5.0.1, ip_range: 10.5.1.0/24, aux_addresses: {a: 10.5.0.2}}]\n        options: {x: 'y'}\n    out: {external: true, name: proxy}\n  volumes:\n    data:\n    cold: {driver: local, driver_opts: {type: nfs}, labels: {a: b}, name: cold}\n    old: {external: true}\n  rollout: {min_ready: 1s}\n  update: digest\n";
    let parsed = parse("p.yaml", text).unwrap_or_else(|problems| panic!("{}", problems[0]));
    let value = serde_json::to_value(&parsed[0].object).unwrap();
    assert_eq!(
        value["spec"],
        json!({
            "networks": {
                "front": {},
                "back": {"driver": "bridge", "driver_opts": {"com.docker.network.driver.mtu": "1400"}, "labels": {"a": "b"}, "internal": true,
                    "attachable": true, "enable_ipv6": true, "ipam": {"driver": "default", "config": [{"subnet": "10.5.0.0/16", "gateway": "10.5.0.1",
                    "ip_range": "10.5.1.0/24", "aux_addresses": {"a": "10.5.0.2"}}], "options": {"x": "y"}}},
                "out": {"external": true, "name": "proxy"},
            },
            "volumes": {"data": {}, "cold": {"driver": "local", "driver_opts": {"type": "nfs"}, "labels": {"a": "b"}, "name": "cold"}, "old": {"external": true}},
            "rollout": {"min_ready": "1s"},
            "update": {"policy": "digest"},
        })
    );
}

#[test]
fn several_documents_know_their_lines() {
    let text = format!("# a comment\n---\n{HEAD}---\n# nothing\n---\nnull\n...\n\n%YAML 1.2\n---\n{HEAD}");
    let lines: Vec<usize> = parse("web.yaml", &text).unwrap().iter().map(|parsed| parsed.line).collect();
    assert_eq!(lines, [3, 16]);
    assert_eq!(parse("empty.yaml", "").unwrap(), []);
    assert_eq!(parse("empty.yaml", "# nothing\n").unwrap(), []);
}

#[test]
fn byte_order_mark_and_line_ends_do_not_matter() {
    let plain = parse("web.yaml", HEAD).unwrap();
    for text in [format!("\u{feff}{HEAD}"), HEAD.replace('\n', "\r\n"), HEAD.replace('\n', "\r")] {
        assert_eq!(parse("web.yaml", &text).unwrap(), plain, "{text:?}");
    }
}

/// The service keys of Compose's own schema (compose-spec, schema/compose-spec.json).
const COMPOSE: &str = "develop deploy annotations attach build blkio_config cap_add cap_drop cgroup cgroup_parent \
    command configs container_name cpu_count cpu_percent cpu_shares cpu_quota cpu_period cpu_rt_period cpu_rt_runtime cpus \
    cpuset credential_spec depends_on device_cgroup_rules devices dns dns_opt dns_search domainname entrypoint env_file \
    label_file environment expose extends provider external_links extra_hosts gpus group_add healthcheck hostname image init \
    ipc isolation labels links logging mac_address mem_limit mem_reservation mem_swappiness memswap_limit network_mode models \
    networks oom_kill_disable oom_score_adj pid pids_limit platform ports post_start pre_stop privileged profiles pull_policy \
    pull_refresh_after read_only restart runtime scale security_opt shm_size secrets sysctls stdin_open stop_grace_period \
    stop_signal storage_opt tmpfs tty ulimits use_api_socket user uts userns_mode volumes volumes_from working_dir";

#[test]
fn each_compose_key_is_supported_or_refused_by_name() {
    let cases = cases();
    for key in COMPOSE.split_whitespace().filter(|key| *key != "image") {
        if cases.iter().any(|(_, of, _)| *of == key) {
            continue;
        }
        let problems = parse("web.yaml", &format!("{HEAD}  {key}: x\n")).unwrap_err();
        assert_eq!(problems.len(), 1, "{key}");
        assert_eq!(problems[0].message, format!("`{key}` is not supported in spec"));
        assert!(problems[0].help.is_some(), "{key}");
    }
}
