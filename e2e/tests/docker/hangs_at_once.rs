//! Many things hang at once, each for a minute: an unrelated service goes on as if it were alone, and each slow one is named by
//! its own service.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use e2e::between::Between;
use e2e::controller::{Controller, brief, condition, reason};
use e2e::document::Service;
use e2e::stage::{say, scenario_alone};
use e2e::world::{World, replace};
use e2e::{millis, secs, that, within};
use serde_json::Value;

/// So long they hang.
const HANGS: u64 = 60;
/// The debounce of 0.1 s, and a second.
const PROMPT: f64 = 1.1;

pub(crate) fn service(name: &str, version: u32) -> Service {
    // What hangs is waited for, and does not fail meanwhile.
    let service =
        Service::new(name, 1).key("ports", "[]").rollout("min_ready", "0s").rollout("progress_deadline", "600s");
    service.env("V", &version.to_string())
}

/// How long a change took: until its first call was seen, and until it was done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) begun: f64,
    pub(crate) done: f64,
}

/// A service that is changed again and again.
pub(crate) struct Other<'a> {
    world: &'a World,
    between: &'a Between,
    name: String,
    version: u32,
    revision: String,
}

impl<'a> Other<'a> {
    /// Brings it up.
    pub(crate) fn new(world: &'a World, between: &'a Between, controller: &Controller, name: &str) -> Self {
        world.write(&service(name, 1));
        let revision = controller.converged(name, "", secs(60));
        Self { world, between, name: name.to_owned(), version: 1, revision }
    }

    /// Changes it once.
    pub(crate) fn change(&mut self, controller: &Controller) -> Took {
        self.version += 1;
        let start = Instant::now();
        self.world.write(&service(&self.name, self.version));
        let create = format!("POST /containers/create?name={}-{}-", self.world.project, self.name);
        let begun = within(secs(90), &format!("a new {} is made", self.name), || {
            self.between
                .first(start, &create)
                .ok_or_else(|| controller.status(&self.name).map_or_else(|e| e, |s| brief(&s)))
        });
        self.revision = controller.converged(&self.name, &self.revision, secs(90));
        Took { begun: (begun - start).as_secs_f64(), done: start.elapsed().as_secs_f64() }
    }

    /// Changes it some times while nothing hangs: the slowest of each.
    pub(crate) fn alone(&mut self, controller: &Controller) -> Took {
        slowest(&[self.change(controller), self.change(controller), self.change(controller)])
    }
}

/// The slowest of each.
pub(crate) fn slowest(all: &[Took]) -> Took {
    let most = |of: fn(&Took) -> f64| all.iter().map(of).fold(0.0, f64::max);
    Took { begun: most(|took| took.begun), done: most(|took| took.done) }
}

/// Fails unless changes began at once and ended about as soon as alone; other programs may be at work on this machine.
pub(crate) fn is_prompt(all: &[Took], alone: Took) {
    let worst = slowest(all);
    let (begun, done) = (PROMPT.max(3.0 * alone.begun), 2.0f64.mul_add(alone.done, 3.0));
    assert!(worst.begun < begun && worst.done < done, "{all:?}, alone {alone:?}");
}

/// Says so when it is dropped, also by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Looks at `/readyz` until `play` has ended; returns what it said other than that all is well.
pub(crate) fn watched(controller: &Controller, play: impl FnOnce()) -> Vec<String> {
    let (over, said) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if let Err(why) = controller.is_ready() {
                    said.lock().unwrap().push(why);
                }
                // The pace of a load balancer that is in a hurry.
                std::thread::sleep(millis(200));
            }
        });
        let _over = Over(&over);
        play();
    });
    said.into_inner().unwrap()
}

#[test]
fn s72_many_things_hang_for_a_minute_and_hold_up_nobody_else() {
    scenario_alone("72 ten things that hang at once", secs(420), |world| {
        let between = Between::start(&world.path(""));
        let options = ["--host".to_owned(), between.host()];
        let (project, of) = (&world.project, format!("{}-v", world.project));
        let old = ["inspect", "create", "start", "stop", "remove", "pull", "exec", "probe"];
        for name in old {
            world.write(&service(name, 1));
        }
        let controller = Controller::start_with(world, &options);
        for name in old {
            controller.converged(name, "", secs(120));
        }
        let mut other = Other::new(world, &between, &controller, "other");
        let alone = other.alone(&controller);
        say(&format!("  alone: begun after {:.2} s, done after {:.2} s", alone.begun, alone.done));

        let held = [
            format!("GET /json {project}-inspect-"),
            format!("POST /containers/create?name={project}-create-"),
            format!("POST /start {project}-start-"),
            format!("POST /stop {project}-stop-"),
            format!("DELETE /containers/ {project}-remove-"),
            "POST /images/create nobody".to_owned(),
            format!("POST /exec {project}-exec-"),
            format!("POST /networks/create {project}_late"),
            format!("POST /volumes/create {of}_data"),
        ];
        for one in &held {
            between.hold(one);
        }
        for name in ["inspect", "create", "start", "stop", "remove"] {
            world.write(&service(name, 2));
        }
        world.write(&service("pull", 2).key("image", "127.0.0.1:9/nobody:1").key("pull_policy", "missing"));
        world.write(&service("exec", 2).key("post_start", r#"[{command: ["/composed", "--version"]}]"#));
        let never = format!(r#"{{http: {{path: "/slow?ms={}", port: 8080}}, timeout: {}s}}"#, HANGS * 2000, HANGS * 2);
        world.write(&service("probe", 2).key("readiness", &never));
        let about = |project: &str, what: &str| {
            format!("apiVersion: composed.dev/v1\nkind: Project\nmetadata: {{name: {project}}}\nspec: {what}\n")
        };
        replace(&world.desired().join("project.yaml"), &about(project, "{networks: {late: {}}}"));
        world.write(&service("network", 1).key("networks", "[late]"));
        let text = about(&of, "{volumes: {data: {}}}")
            + "---\n"
            + &service("volume", 1).key("volumes", r#"["data:/data"]"#).yaml(&of);
        replace(&world.desired().join("volume.yaml"), &text);
        for one in &held {
            within(secs(60), &format!("{one} is held"), || {
                that(between.holds(one), || format!("{} are", between.held()))
            });
        }
        let begin = Instant::now();
        let named = [
            ("inspect", format!("{project}-inspect-1 ")),
            ("create", format!("create {project}-create-2")),
            ("start", format!("start {project}-start-2")),
            ("stop", format!("{project}-stop-1 to stop")),
            ("remove", format!("remove {project}-remove-1")),
            ("pull", "image 127.0.0.1:9/nobody:1 to be pulled".to_owned()),
            // A hook may take 60 s, so at the end it may have failed.
            ("exec", "post_start".to_owned()),
            // Its first question may have come before the application listened.
            ("probe", "its readiness probe".to_owned()),
            ("network", format!("network {project}_late to be created")),
            ("volume", format!("volume {of}_data to be created")),
        ];
        let are_named = || {
            for (name, what) in &named {
                within(secs(15), &format!("what {name} waits for is told"), || {
                    let status = brief(&said_of(&controller, name)?);
                    that(status.contains(what), || status)
                });
            }
        };
        are_named();
        let mut all = Vec::new();
        let complaints = watched(&controller, || {
            while begin.elapsed() < secs(HANGS) {
                all.push(other.change(&controller));
            }
        });
        are_named();
        let worst = slowest(&all);
        say(&format!(
            "  {} changes while {} calls hang: the slowest begun after {:.2} s, done after {:.2} s",
            all.len(),
            between.held(),
            worst.begun,
            worst.done
        ));
        assert_eq!(complaints, Vec::<String>::new(), "/readyz");
        is_prompt(&all, alone);
        between.free();
        for name in ["probe", "pull", "exec"] {
            world.write(&service(name, 3));
        }
        for (name, _) in named {
            within(secs(120), &format!("{name} goes on"), || {
                let status = said_of(&controller, name)?;
                let rests = status["waiting"].as_array().is_none_or(Vec::is_empty);
                let one = status["available"] == 1 && status["live"] == 1;
                let there = status["instances"].as_array().map(Vec::len) == Some(1);
                let new = reason(&status, "Progressing") == "NewRevisionAvailable" && rests && one && there;
                that(new && condition(&status, "Unknown").is_null(), || brief(&status))
            });
        }
        // The engine was asked for the network again and again, and has made it each time.
        assert!(controller.events().contains(&format!("of the name {project}_late")), "{}", controller.events());
        within(secs(30), "one network is left", || {
            let named = format!("name=^{project}_late$");
            let networks = world.docker.run(&["network", "ls", "--quiet", "--filter", &named]);
            that(networks.lines().count() == 1, || networks.clone())
        });
    });
}

/// The status of a service of any project.
fn said_of(controller: &Controller, service: &str) -> Result<Value, String> {
    let overview = controller.overview()?;
    let found = overview["services"].as_array().and_then(|all| all.iter().find(|status| status["name"] == service));
    found.cloned().ok_or_else(|| format!("no service {service}: {overview}"))
}
