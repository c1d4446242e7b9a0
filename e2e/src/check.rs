//! Who runs, by Docker's own word.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use serde_json::Value;

use crate::docker::Docker;
use crate::millis;
use crate::world::World;

/// A container as `docker ps` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Container {
    /// Its full id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The service that its Compose label names.
    pub service: String,
    /// created, running, paused, restarting, exited, dead.
    pub state: String,
    /// Whether Docker calls it healthy.
    pub healthy: bool,
    /// Its image, as it was asked for.
    pub image: String,
    /// All its labels.
    pub labels: BTreeMap<String, String>,
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let health = if self.healthy { " (healthy)" } else { "" };
        write!(f, "{} {} of {}: {}{health}", self.name, &self.id[..12], self.image, self.state)
    }
}

/// All containers of a project, stopped ones too, by name.
pub fn containers(docker: &Docker, project: &str) -> Vec<Container> {
    let label = format!("label=com.docker.compose.project={project}");
    let text = docker.run(&["ps", "-a", "--no-trunc", "--filter", &label, "--format", "{{json .}}"]);
    let mut found: Vec<_> = text.lines().map(container).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn container(line: &str) -> Container {
    let value: Value = serde_json::from_str(line).expect("docker ps prints JSON");
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let labels: BTreeMap<String, String> = text("Labels")
        .split(',')
        .filter_map(|label| label.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Container {
        id: text("ID"),
        name: text("Names"),
        service: labels.get("com.docker.compose.service").cloned().unwrap_or_default(),
        state: text("State"),
        healthy: text("Status").contains("(healthy)"),
        image: text("Image"),
        labels,
    }
}

impl World {
    /// All containers of the project, stopped ones too.
    pub fn containers(&self) -> Vec<Container> {
        containers(&self.docker, &self.project)
    }

    /// The containers of a service, stopped ones too.
    pub fn all_of(&self, service: &str) -> Vec<Container> {
        self.containers().into_iter().filter(|c| c.service == service).collect()
    }

    /// The running containers of a service.
    pub fn running(&self, service: &str) -> Vec<Container> {
        self.all_of(service).into_iter().filter(|c| c.state == "running").collect()
    }

    /// The ids of the running containers of a service.
    pub fn ids(&self, service: &str) -> BTreeSet<String> {
        self.running(service).into_iter().map(|c| c.id).collect()
    }

    /// Writes down what happens to the project's containers.
    pub fn record(&self) -> Recorder {
        Recorder::start(&self.docker, &[&format!("label=com.docker.compose.project={}", self.project)])
    }

    /// Exactly `replicas` containers of a service, all healthy and of one image; nothing else, running or not.
    pub fn only(&self, service: &str, replicas: usize, image: &str) {
        let all = self.all_of(service);
        let fits = |c: &Container| c.state == "running" && c.healthy && c.image == image;
        assert!(all.len() == replicas && all.iter().all(fits), "{replicas} of {image} and no more, but: {all:#?}");
    }
}

/// What Docker does to containers, written down as it happens: Docker itself remembers only the last 256 events, and
/// every healthcheck makes three.
#[derive(Debug)]
pub struct Recorder {
    child: Child,
    lines: Arc<Mutex<Vec<(String, String)>>>,
}

impl Recorder {
    /// Writes down what happens from now on to the containers that a filter lets through, such as `label=a=b`.
    pub fn start(docker: &Docker, filters: &[&str]) -> Self {
        let since = std::time::UNIX_EPOCH.elapsed().expect("it is after 1970");
        let since = format!("{}.{:09}", since.as_secs(), since.subsec_nanos());
        let mut words = vec!["events".to_owned(), "--since".to_owned(), since];
        words.extend(["--format".to_owned(), "{{.Status}} {{.Actor.Attributes.name}}".to_owned()]);
        for event in ["create", "start", "kill", "stop", "die", "pause", "rename", "update", "destroy"] {
            words.extend(["--filter".to_owned(), format!("event={event}")]);
        }
        for filter in filters {
            words.extend(["--filter".to_owned(), (*filter).to_owned()]);
        }
        let mut child = docker.start(&words);
        let stdout = child.stdout.take().expect("it is piped");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some((event, name)) = line.split_once(' ') {
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.push((event.to_owned(), name.to_owned()));
                }
            }
        });
        Self { child, lines }
    }

    /// To whom an event has happened so far.
    pub fn seen(&self, event: &str) -> Vec<String> {
        self.all().into_iter().filter(|(what, _)| what == event).map(|(_, name)| name).collect()
    }

    /// Everything that has happened so far: the event and the container's name.
    pub fn all(&self) -> Vec<(String, String)> {
        // What has just happened is told in a moment.
        std::thread::sleep(millis(300));
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What the watcher has seen of a service.
#[derive(Clone, Debug, Default)]
pub struct Sights {
    /// How often it looked.
    pub looks: u32,
    /// The fewest healthy containers that were not draining.
    pub fewest: Option<usize>,
    /// The most running containers that were not draining.
    pub most: usize,
    /// The most running containers, draining ones too.
    pub most_running: usize,
    /// What was there when there were fewest, and when there were most.
    pub notes: BTreeMap<&'static str, String>,
}

/// Looks at a service all the time: Docker for who runs, the status only for who is draining.
#[derive(Debug)]
pub struct Watcher {
    sights: Arc<Mutex<Sights>>,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Begins to look.
    pub fn start(world: &World, service: &str) -> Self {
        let sights = Arc::new(Mutex::new(Sights::default()));
        let done = Arc::new(AtomicBool::new(false));
        let (docker, project, socket) = (world.docker.clone(), world.project.clone(), world.socket());
        let (seen, end, service) = (Arc::clone(&sights), Arc::clone(&done), service.to_owned());
        let began = Instant::now();
        let thread = std::thread::spawn(move || {
            let draining = || -> BTreeSet<String> {
                let overview = crate::controller::get(&socket, "/v1/services").unwrap_or_default();
                let services = overview["services"].as_array().cloned().unwrap_or_default();
                let instances = services.iter().filter_map(|s| s["instances"].as_array()).flatten();
                instances
                    .filter(|i| i["phase"] == "Draining")
                    .filter_map(|i| i["id"].as_str().map(str::to_owned))
                    .collect()
            };
            while !end.load(Ordering::Relaxed) {
                // Who begins to drain between the looks is given the benefit of the doubt.
                let before = draining();
                let all = containers(&docker, &project);
                let after = draining();
                let running: Vec<_> = all.iter().filter(|c| c.service == service && c.state == "running").collect();
                let serving = running.iter().filter(|c| c.healthy && !before.contains(&c.id)).count();
                let live = running.iter().filter(|c| !before.contains(&c.id) && !after.contains(&c.id)).count();
                let names: Vec<_> = all.iter().map(|c| format!("{} {} {}", c.name, c.state, c.healthy)).collect();
                let note = format!("{:?}: {names:?}, draining {before:?}", began.elapsed());
                let mut sights = seen.lock().unwrap_or_else(PoisonError::into_inner);
                sights.looks += 1;
                if sights.fewest.is_none_or(|fewest| serving < fewest) {
                    sights.fewest = Some(serving);
                    sights.notes.insert("fewest", note.clone());
                }
                if live > sights.most {
                    sights.most = live;
                    sights.notes.insert("most", note);
                }
                sights.most_running = sights.most_running.max(running.len());
                drop(sights);
                std::thread::sleep(millis(150)); // How often it looks: what lasts less is not seen.
            }
        });
        Self { sights, done, thread: Some(thread) }
    }

    /// Ends; returns what it has seen.
    pub fn stop(mut self) -> Sights {
        self.end();
        self.sights.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn end(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed.
            drop(thread.join());
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.end();
    }
}
