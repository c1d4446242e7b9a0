//! New images behind a tag: moved by hand on the host, and in a real registry with passwords.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::controller::Controller;
use e2e::document::Service;
use e2e::program::{image, janitor, run_name};
use e2e::stage::{say, scenario};
use e2e::traffic::Traffic;
use e2e::world::World;
use e2e::{millis, secs, stays, that, within};
use serde_json::Value;

fn id_of(world: &World, image: &str) -> String {
    world.docker.run(&["image", "inspect", "--format", "{{.Id}}", image])
}

/// The ids of the images that a service's containers are made of.
fn images(world: &World, service: &str) -> BTreeSet<String> {
    let ids = world.ids(service);
    let image = |id: &String| world.docker.output(&["inspect", "--format", "{{.Image}}", id]).stdout;
    // One that has gone in between is none.
    let all = ids.iter().map(|id| String::from_utf8_lossy(&image(id)).trim().to_owned());
    all.filter(|image| !image.is_empty()).collect()
}

/// Waits until a service is converged and all its containers are made of this image.
fn runs(controller: &Controller, world: &World, service: &str, image: &str) {
    let id = id_of(world, image);
    within(secs(90), &format!("{service} runs {image}"), || {
        let status = controller.status(service)?;
        let there = images(world, service);
        let rests = status["waiting"].as_array().is_none_or(Vec::is_empty);
        let wanted = status["update"]["imageId"] == id.as_str();
        that(wanted && rests && there == BTreeSet::from([id.clone()]), || format!("{there:?} {status}"))
    });
}

/// Tags and containers that are made, as the engine dates them.
struct Events(Child, Arc<Mutex<Vec<Value>>>);

impl Events {
    fn start(world: &World) -> Self {
        let words = ["events", "--filter", "event=tag", "--filter", "event=create", "--format", "{{json .}}"];
        let mut child = world.docker.start(&words.map(str::to_owned));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        std::thread::spawn(move || {
            for event in lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()) {
                seen.lock().unwrap().push(event);
            }
        });
        Self(child, events)
    }

    /// From the last event of a tag to the first container that was made after it, in milliseconds.
    fn latency(&self, tag: &str) -> f64 {
        let events = self.1.lock().unwrap();
        let is = |event: &Value, kind: &str| event["Type"] == kind;
        let at = |event: &Value| event["timeNano"].as_u64().unwrap();
        let tagged = |event: &&Value| is(event, "image") && event["Actor"]["Attributes"]["name"] == tag;
        let tagged = events.iter().rev().find(tagged).map_or_else(|| panic!("no tag in {events:?}"), at);
        let created = events.iter().find(|event| is(event, "container") && at(event) > tagged).map(at).unwrap();
        Duration::from_nanos(created - tagged).as_secs_f64() * 1e3
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Tags of this test, gone when it is dropped.
struct Tags<'a>(&'a World, Vec<String>);

impl Drop for Tags<'_> {
    fn drop(&mut self) {
        for tag in &self.1 {
            drop(self.0.docker.output(&["rmi", "-f", tag]));
            // What was pulled and replaced has a digest of the repository, and no tag.
            let repository = tag.rsplit_once(':').map_or(tag.as_str(), |(repository, _)| repository);
            self.0.docker.each(&["images", "-q", repository], &["rmi", "-f"]);
        }
    }
}

#[test]
fn s40_a_tag_that_is_moved_on_the_host_rolls_out_under_traffic() {
    scenario("40 tag moved", secs(240), |world| {
        let moving = format!("{}-moving:1", run_name());
        let _tags = Tags(world, vec![moving.clone()]);
        world.docker.run(&["tag", &image("1"), &moving]);
        world.write(&Service::new("web", 2).key("image", &moving).key("update", "digest"));
        let controller = Controller::start(world);
        let first = controller.converged("web", "", secs(60));
        let traffic = Traffic::start(world, "web");
        let events = Events::start(world);
        let mut all = Vec::new();
        for version in ["2", "3", "1"] {
            // "Look at everything" is said at most once a second.
            std::thread::sleep(millis(1500));
            world.docker.run(&["tag", &image(version), &moving]);
            runs(&controller, world, "web", &image(version));
            all.push(events.latency(&moving));
        }
        let report = traffic.stop();
        assert_eq!(report.failed, 0, "{:#?}", report.errors);
        assert_eq!(
            controller.status("web").unwrap()["revision"],
            first.as_str(),
            "the same image is the same revision"
        );
        let named = world.docker.run(&["inspect", "--format", "{{.Config.Image}}", world.ids("web").first().unwrap()]);
        assert_eq!(named, moving, "people can read what it is made of");
        say(&format!("  {report}\n  from the tag's event to the creation of a container: {all:.1?} ms"));
    });
}

/// A real registry on loopback, with one user (`e2e`, `secret`).
struct Registry {
    child: Option<Child>,
    config: PathBuf,
    log: PathBuf,
    port: u16,
}

impl Registry {
    fn new(world: &World) -> Self {
        let dir = world.path("registry");
        std::fs::create_dir(&dir).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let users = dir.join("htpasswd");
        std::fs::write(&users, "e2e:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n").unwrap();
        let config = dir.join("config.yml");
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n\
             auth: {{htpasswd: {{realm: e2e, path: {}}}}}\n",
            dir.display(),
            users.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut registry = Self { child: None, config, log: world.path("registry.log"), port };
        registry.start();
        registry
    }

    fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let program = std::env::var_os("COMPOSED_REGISTRY").unwrap_or_else(|| "docker-registry".into());
        let mut command = Command::new(program);
        command.arg("serve").arg(&self.config).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().expect("docker-registry (Debian's package of that name) starts");
        janitor(child.id());
        self.child = Some(child);
        within(secs(10), "the registry answers", || {
            that(self.curl(&["-I", "-o", "/dev/null"], "/v2/").is_ok(), || "not yet".to_owned())
        });
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn curl(&self, args: &[&str], path: &str) -> Result<Vec<u8>, String> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let output = Command::new("curl").args(["-sf", "-u", "e2e:secret"]).args(args).arg(url).output().unwrap();
        if output.status.success() { Ok(output.stdout) } else { Err(output.status.to_string()) }
    }

    /// Lets a tag stand for what another one stands for, in the registry alone.
    fn retag(&self, repository: &str, from: &str, to: &str) {
        let kind = "application/vnd.docker.distribution.manifest.v2+json";
        let manifest = self.curl(&["-H", &format!("Accept: {kind}")], &format!("/v2/{repository}/manifests/{from}"));
        let file = self.config.with_file_name("manifest");
        std::fs::write(&file, manifest.unwrap()).unwrap();
        let data = format!("@{}", file.display());
        let header = format!("Content-Type: {kind}");
        self.curl(&["-X", "PUT", "-H", &header, "--data-binary", &data], &format!("/v2/{repository}/manifests/{to}"))
            .unwrap();
    }

    /// Composed's own requests so far: method and status.
    fn asked(&self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(&self.log).unwrap();
        let ours = text.lines().filter(|line| line.contains("\"composed/"));
        ours.filter_map(|line| {
            let (_, rest) = line.split_once("] \"")?;
            let mut words = rest.split(' ');
            let method = words.next()?.to_owned();
            Some((method, words.nth(2)?.to_owned()))
        })
        .collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn has_registry() -> bool {
    let named = std::env::var_os("COMPOSED_REGISTRY").is_some();
    named || Command::new("docker-registry").arg("--version").output().is_ok()
}

#[test]
fn s41_a_new_image_in_a_registry_is_found_by_one_request_and_rolls_out() {
    if !has_registry() {
        assert!(
            std::env::var("COMPOSED_REQUIRE_DOCKER").as_deref() != Ok("1"),
            "no docker-registry: .ci/registry brings it"
        );
        say("SKIPPED 41 registry: there is no docker-registry (Debian's package of that name, or COMPOSED_REGISTRY)");
        return;
    }
    scenario("41 registry", secs(300), |world| {
        let mut registry = Registry::new(world);
        let place = format!("127.0.0.1:{}", registry.port);
        let (one, two) = (format!("{place}/shop/web:1"), format!("{place}/shop/web:2"));
        let _tags = Tags(world, vec![one.clone(), two.clone()]);
        let docker_config = world.path("docker-config");
        std::fs::create_dir(&docker_config).unwrap();
        // base64 of e2e:secret
        let auths = format!(r#"{{"auths": {{"{place}": {{"auth": "ZTJlOnNlY3JldA=="}}}}}}"#);
        std::fs::write(docker_config.join("config.json"), auths).unwrap();
        for (version, tag) in [("1", &one), ("2", &two)] {
            world.docker.run(&["tag", &image(version), tag]);
            world.docker.run(&["--config", docker_config.to_str().unwrap(), "push", "-q", tag]);
            world.docker.run(&["rmi", tag]);
        }
        // Composed itself knows the password by a credential helper only.
        let helper = world.path("docker-credential-e2e");
        let answer = r#"{"ServerURL": "", "Username": "e2e", "Secret": "secret"}"#;
        std::fs::write(&helper, format!("#!/bin/sh\n[ \"$1 $(cat)\" = 'get {place}' ] && echo '{answer}'\n")).unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o700)).unwrap();
        let own_config = world.path("own-config");
        std::fs::create_dir(&own_config).unwrap();
        std::fs::write(own_config.join("config.json"), format!(r#"{{"credHelpers": {{"{place}": "e2e"}}}}"#)).unwrap();
        world.write(&Service::new("web", 2).key("image", &one).key("update", "{policy: digest, interval: 1s}"));
        world.write(&Service::new("twin", 1).key("image", &one).key("update", "{policy: digest, interval: 1s}"));
        let path = format!("{}:{}", world.path("").display(), std::env::var("PATH").unwrap());
        let environment = [("DOCKER_CONFIG", own_config), ("PATH", path.into())];
        let controller = Controller::start_in(world, &environment);
        // Both were pulled with the password.
        runs(&controller, world, "web", &image("1"));
        runs(&controller, world, "twin", &image("1"));
        let before = registry.asked().len();
        // So long it is counted how often it asks.
        std::thread::sleep(secs(6));
        let asked = registry.asked();
        let new = &asked[before..];
        // One request a second, give or take a tenth, for both services.
        assert!((4..=8).contains(&new.len()), "{new:?}");
        assert!(new.iter().all(|(method, status)| method == "HEAD" && status == "200"), "{new:?}");
        assert_eq!(asked.iter().filter(|(_, status)| status == "401").count(), 1, "only the first was turned away");
        say(&format!("  unchanged for 6 s, two services, interval 1s: {} requests, all HEAD", new.len()));

        let traffic = Traffic::start(world, "web");
        registry.retag("shop/web", "2", "1");
        runs(&controller, world, "web", &image("2"));
        runs(&controller, world, "twin", &image("2"));

        // Away for a while: nothing is stopped, and it is said.
        let there = world.ids("web");
        registry.stop();
        controller.meets("web", secs(30), "the trouble is told", |status| {
            status["update"]["problem"].as_str().is_some_and(|problem| problem.contains("refused"))
        });
        stays(secs(5), "nobody is replaced", || that(world.ids("web") == there, || format!("{:?}", world.ids("web"))));
        registry.start();
        registry.retag("shop/web", "2", "3");
        controller.meets("web", secs(90), "it is back by itself", |status| status["update"]["problem"].is_null());
        let report = traffic.stop();
        assert_eq!(report.failed, 0, "{:#?}", report.errors);
        assert_eq!(world.ids("web"), there);
        let said = controller.said();
        assert!(!said.contains("secret") && !said.contains("ZTJlOnNlY3JldA"), "a secret in the log");
        say(&format!("  {report}"));
    });
}
