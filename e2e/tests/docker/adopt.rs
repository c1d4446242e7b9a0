//! A Compose project that runs already is handed over: nothing is restarted, and what changes later is rolled out under
//! traffic.

#[path = "adopt/contended.rs"]
mod contended;
#[path = "adopt/failure.rs"]
mod failure;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use e2e::check::containers;
use e2e::controller::{Controller, brief, condition, plan, plan_in, verb};
use e2e::haproxy::haproxy_or_skip;
use e2e::load::{ALL, Load};
use e2e::program::{compose, image};
use e2e::proxy::free_port;
use e2e::stage::{say, scenario};
use e2e::world::{World, replace};
use e2e::{secs, stays, that, within};

const SERVICES: [&str; 6] = ["web", "api", "worker", "db", "migrate", "proxy"];

/// A project as teams have it: two services behind a reverse proxy, a worker, a database with its data, a migration
/// that runs once. `version` says what each service's variable of that name is.
fn project(world: &World, haproxy: &str, version: &BTreeMap<&str, u32>) -> String {
    let check = "{test: [CMD, /composed, demo-app, check], interval: 500ms, timeout: 3s, retries: 3, start_period: 1s}";
    let app = image("1");
    let of = |service: &str| version.get(service).copied().unwrap_or(1);
    let environment = |service: &str| format!("{{VERSION: \"{}\", ON_TERM: die, LATENCY_MS: \"20\"}}", of(service));
    let config = world.path("haproxy.cfg");
    format!(
        "name: {project}
services:
  web:
    image: {app}
    labels: {{traefik.enable: \"true\", team: shop}}
    environment: {web}
    healthcheck: {check}
    stop_grace_period: 5s
    depends_on: [api]
    deploy: {{replicas: 3, resources: {{limits: {{memory: 128M}}}}}}
    x-composed: {{rollout: {{min_ready: 1s}}}}
  api:
    image: {app}
    environment: {api}
    healthcheck: {check}
    networks: {{default: {{aliases: [backend]}}}}
    depends_on:
      migrate: {{condition: service_completed_successfully}}
      db: {{condition: service_healthy}}
    x-composed: {{rollout: {{min_ready: 1s}}}}
  worker:
    image: {app}
    environment: {worker}
    init: true
    restart: unless-stopped
    read_only: true
    tmpfs: [/tmp]
    x-composed: {{rollout: {{min_ready: 1s}}}}
  db:
    image: {app}
    environment: {db}
    healthcheck: {check}
    volumes: [\"data:/data\"]
    restart: always
    stop_grace_period: 3s
    x-composed: {{rollout: {{min_ready: 1s}}}}
  migrate:
    image: {app}
    entrypoint: [/composed, --version]
    environment: {migrate}
  proxy:
    image: {haproxy}
    command: [haproxy, -db, -f, /haproxy.cfg]
    environment: {proxy}
    network_mode: host
    volumes: [\"{config}:/haproxy.cfg:ro\"]
    x-composed: {{rollout: {{min_ready: 1s}}}}
volumes: {{data: {{}}}}
",
        project = world.project,
        web = environment("web"),
        api = environment("api"),
        worker = environment("worker"),
        db = environment("db"),
        migrate = environment("migrate"),
        proxy = environment("proxy"),
        config = config.display(),
    )
}

fn proxy_config(project: &str, dns: u16, at: u16) -> String {
    let backend = |service: &str| {
        format!(
            "backend {service}\n  balance roundrobin\n  option http-server-close\n  server-template {service} 6 \
             {service}.{project}.composed:8080 resolvers composed init-addr none\n"
        )
    };
    format!(
        "global\n  maxconn 4000\nresolvers composed\n  nameserver one 127.0.0.1:{dns}\n  hold valid 1s\n  hold nx 0s\n  \
         hold obsolete 0s\n  timeout resolve 1s\n  timeout retry 300ms\ndefaults\n  mode http\n  timeout connect 2s\n  \
         timeout client 30s\n  timeout server 30s\nfrontend in\n  bind 127.0.0.1:{at}\n  use_backend api if {{ hdr(host) api.test }}\n  \
         default_backend web\n{}{}",
        backend("web"),
        backend("api")
    )
}

/// Who there is, and since when it runs.
fn all(world: &World) -> BTreeMap<String, String> {
    let all = world.containers().into_iter().map(|one| {
        let since = world.docker.run(&["inspect", "--format", "{{.State.StartedAt}}", &one.id]);
        (one.id, format!("{} since {since}", one.name))
    });
    all.collect()
}

#[test]
fn s25_a_running_compose_project_is_handed_over() {
    scenario("25 a Compose project handed over", secs(420), |world| {
        let Some(haproxy) = haproxy_or_skip("25 a Compose project handed over") else { return };
        let program = match compose() {
            Ok(program) => program,
            Err(why) => return say(&format!("  SKIPPED: Docker Compose cannot be installed: {why}")),
        };
        let (dns, at) = (free_port(), free_port());
        std::fs::write(world.path("haproxy.cfg"), proxy_config(&world.project, dns, at)).unwrap();
        let mut version = BTreeMap::new();
        let file = world.desired().join("compose.yaml");
        replace(&file, &project(world, &haproxy, &version));
        let compose = |args: &[&str]| {
            let output = Command::new(&program).arg("-f").arg(&file).args(args).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "compose {args:?}: {error}");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        compose(&["up", "--detach", "--wait"]);
        let before = all(world);
        assert_eq!(before.len(), 8, "{before:?}");

        let told = plan(world, &world.desired());
        assert!(!told.text.contains("create "), "nothing is to be made: {}", told.text);
        let record = world.record();
        let controller = Controller::start_with(world, &["--dns".to_owned(), format!("127.0.0.1:{dns}")]);
        let done = |service: &str, limit| {
            controller.reason(service, "NewRevisionAvailable", limit);
        };
        for service in SERVICES {
            done(service, secs(30));
        }
        assert_eq!(all(world), before, "nobody was restarted");
        assert_eq!(record.all(), [], "nothing was done to anybody");
        let empty = |when: &str| {
            let told = plan(world, &world.desired());
            let nothing = told.text.matches("nothing to do").count();
            assert_eq!(nothing, SERVICES.len(), "{when} a plan is empty: {}", told.text);
        };
        empty("after the handover");

        let proxy = SocketAddr::from((Ipv4Addr::LOCALHOST, at));
        for host in ["web.test", "api.test"] {
            within(secs(20), "an answer through the proxy", || Load::try_once(proxy, host));
        }
        let loads = ["web.test", "api.test"].map(|host| Load::start(proxy, host, 100, ALL));
        for service in ["web", "api", "worker", "db", "migrate"] {
            let others = |ids: BTreeMap<String, String>| -> BTreeMap<String, String> {
                let name = format!("{}-{service}-", world.project);
                ids.into_iter().filter(|(_, about)| !about.starts_with(&name)).collect()
            };
            let (rest, old) = (others(all(world)), world.all_of(service));
            version.insert(service, 2);
            replace(&file, &project(world, &haproxy, &version));
            within(secs(90), &format!("{service} is replaced"), || {
                let now = world.all_of(service);
                let new = now.len() == old.len() && now.iter().all(|one| old.iter().all(|other| other.id != one.id));
                that(new, || format!("{now:?}"))
            });
            done(service, secs(30));
            assert_eq!(others(all(world)), rest, "with {service} nothing else changes");
        }
        for (load, service) in loads.into_iter().zip(["web", "api"]) {
            let counts = load.stop();
            say(&format!(
                "  {service}: {} requests, {} failed, by version {:?}",
                counts.sent, counts.failed, counts.served
            ));
            assert!(counts.sent > 1000 && counts.served.contains_key("2"), "{counts:?}");
            assert_eq!(counts.failed, 0, "{:?}", counts.errors);
        }
        empty("in the end");
        let shown = compose(&["ps", "--all", "--format", "{{.Name}}"]);
        let mut shown: Vec<&str> = shown.lines().collect();
        shown.sort_unstable();
        let there = world.containers();
        assert_eq!(shown, there.iter().map(|one| one.name.as_str()).collect::<Vec<_>>());
    });
}

/// Projects of the corpus that cannot be made on this engine, and why.
const NOT_MADE: [(&str, &str); 13] = [
    ("01-basic", "a hostname beside the host's UTS namespace"),
    ("17-volumes", "paths of a host that is not this one"),
    ("22-files", "paths of a host that is not this one"),
    ("23-external", "networks of others"),
    ("28-commands", "no command"),
    ("31-casts", "an anonymous volume that is read-only"),
    ("37-merge-forms", "paths that are not there"),
    ("43-tags-and-extends", "capabilities that there are not"),
    ("49-scalars", "options that the logging driver does not know"),
    ("52-deep-includes", "paths that are not there"),
    ("55-sizes-and-times", "less memory than the engine takes"),
    ("61-newer-engines", "addresses of IPv6 that the engine has none of"),
    ("63-empty-words", "a network with an empty name, which Compose asks for"),
];

/// Projects that ask composed for something that Compose does not know, a front; and those with files that are put into the
/// container, which cannot be seen from outside.
const DIFFERS: [&str; 2] = ["35-own", "57-contents"];

/// What Compose makes of every project of the corpus is what composed would make: none of it would be replaced.
#[test]
fn s26_the_corpus_is_adopted_as_it_is() {
    let _turn = turn();
    scenario("26 the corpus adopted", secs(900), |world| {
        let program = match compose() {
            Ok(program) => program,
            Err(why) => return say(&format!("  SKIPPED: Docker Compose cannot be installed: {why}")),
        };
        let projects = corpus();
        let home = world.path("home");
        let mut images = Images::of(world);
        let (mut adopted, mut wrong, mut unmade) = (0, Vec::new(), Vec::new());
        for project in &projects {
            let name = project.file_name().unwrap().to_string_lossy().into_owned();
            let dir = world.path("corpus").join(&name);
            copy(project, &dir);
            // A name of its own: what Compose has given up may still be made.
            let number = name.split('-').next().unwrap_or_default();
            let own_name = format!("{}-{number}", world.project);
            let mut args = vec!["-p".to_owned(), own_name.clone()];
            let own = std::fs::read_to_string(dir.join("args")).unwrap_or_default();
            let own: Vec<&str> = own.split_whitespace().collect();
            args.extend(own.chunks(2).filter(|pair| pair[0] != "-p").flatten().map(|word| (*word).to_owned()));
            let compose = |more: &[&str]| {
                let mut command = Command::new(&program);
                command.args(&args).args(more).current_dir(&dir).env_remove("COMPOSE_PROFILES");
                // As a shell would have it, and nothing is made in the home of whoever runs the tests.
                let output = command.env("PWD", &dir).env("HOME", &home).output().unwrap();
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                if output.status.success() {
                    Ok(text)
                } else {
                    Err(String::from_utf8_lossy(&output.stderr).into_owned())
                }
            };
            images.have(compose(&["config", "--images"]).unwrap_or_default().lines());
            let made = compose(&["create", "--pull", "never", "--quiet-pull"]);
            if let Err(why) = made {
                unmade.push((name, why.trim().lines().last().unwrap_or_default().to_owned()));
            } else {
                let at_home = ["--env".to_owned(), format!("HOME={}", home.display())];
                let told = plan_in(world, &dir, &[args.as_slice(), &at_home].concat());
                // What this engine is too old for is no difference that could be mended.
                let differs = told.text.lines().filter(|line| line.contains("it differs in"));
                let differs = differs.filter(|line| !line.contains("needs a newer engine"));
                // Nor is what the kernel cannot do: the engine leaves it out.
                let differs: Vec<&str> = differs.filter(|line| !line.ends_with("it differs in blkio_config")).collect();
                let meant = DIFFERS.contains(&name.as_str());
                let count = told.text.matches("docker compose made it").count();
                let containers = containers(&world.docker, &own_name);
                let there = containers.len();
                if told.code != 0 || meant == differs.is_empty() || count != there || there == 0 {
                    wrong.push(format!("{name}: {count} of {containers:?}, {differs:?} {}", told.text));
                }
                adopted += count;
            }
            let label = format!("label=com.docker.compose.project={own_name}");
            world.docker.each(&["ps", "-aq", "--filter", &label], &["rm", "-fv"]);
            drop(compose(&["down", "--volumes"]));
        }
        unmade.retain(|(name, _)| NOT_MADE.iter().all(|(known, _)| known != name));
        say(&format!(
            "  {} projects, {adopted} containers; not made though they should be: {unmade:?}",
            projects.len()
        ));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(unmade.is_empty() && adopted > 100, "{unmade:?}");
    });
}

/// The turn of a scenario that makes the whole corpus: its projects have the addresses, host ports and images of their files,
/// which an engine has once. It is taken before a seat, so that no seat is held while waiting.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The directories of the projects that the schema's own tests hold against Compose.
pub(crate) fn corpus() -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crd-schema/tests/compose/corpus");
    let entries = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path());
    let mut projects: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    projects.sort();
    projects
}

/// Images of these names: those that are here stay what they are, others are the demo application for as long as this lasts.
pub(crate) struct Images<'w> {
    world: &'w World,
    ours: BTreeSet<String>,
}

impl<'w> Images<'w> {
    /// None yet.
    pub(crate) fn of(world: &'w World) -> Self {
        Self { world, ours: BTreeSet::new() }
    }

    pub(crate) fn have<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names.map(str::trim).filter(|name| !name.is_empty()) {
            let docker = &self.world.docker;
            // With its tag: a short name such as `a` is also the beginning of an id, and one without a tag finds all tags.
            let tagged = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
            let name = if tagged { name.to_owned() } else { format!("{name}:latest") };
            if !docker.output(&["image", "inspect", &name]).status.success() {
                docker.run(&["tag", &image("1"), &name]);
                self.ours.insert(name);
            }
        }
    }
}

impl Drop for Images<'_> {
    fn drop(&mut self) {
        for name in &self.ours {
            drop(self.world.docker.output(&["rmi", name]));
        }
    }
}

/// Copies a directory, with images by name only.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            // No engine gives an image a digest of our own.
            let text = std::fs::read_to_string(&path).unwrap();
            let plain: String = text
                .split_inclusive('\n')
                .map(|line| line.split("@sha256:").next().unwrap_or(line).trim_end().to_owned() + "\n")
                .collect();
            std::fs::write(to.join(name), if text.contains("@sha256:") { plain } else { text }).unwrap();
        }
    }
}
