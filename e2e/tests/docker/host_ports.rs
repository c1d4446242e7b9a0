//! A host port that moves between services: nobody starts before it is free, and nobody stops before it is sure to come free.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use e2e::controller::{Controller, brief, plan};
use e2e::document::Service;
use e2e::load::Load;
use e2e::program::image;
use e2e::proxy::free_port;
use e2e::stage::{say, scenario};
use e2e::world::World;
use e2e::{millis, secs, that, within};

/// Asks a port of the host some 50 times a second; the longest time without an answer is its gap.
struct Asked {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Asked {
    fn start(port: u16) -> Self {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        within(secs(20), "an answer", || Load::try_once(to, "web"));
        let ended = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let (mut last, mut gap) = (Instant::now(), Duration::ZERO);
            while !ends.load(Ordering::SeqCst) {
                let answered = Load::try_once(to, "web").is_ok();
                if answered {
                    gap = gap.max(last.elapsed());
                    last = Instant::now();
                }
                std::thread::sleep(millis(20)); // The pace of asking.
            }
            gap
        });
        Self { ended, thread }
    }

    fn gap(self) -> Duration {
        self.ended.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

fn service(name: &str, port: u16) -> Service {
    Service::new(name, 1).key("ports", &format!("[\"127.0.0.1:{port}:8080\"]"))
}

/// Whether the replica of a service has this port, and no other of that project does.
fn has(world: &World, name: &str, port: u16) {
    within(secs(60), &format!("{name} has {port}"), || {
        let all = world.all_of(name);
        // One of them may go meanwhile.
        let ports = all.iter().map(|one| world.docker.output(&["port", &one.id]).stdout);
        let ports = String::from_utf8_lossy(&ports.collect::<Vec<_>>().concat()).into_owned();
        let there = all.len() == 1 && ports.contains(&format!(":{port}"));
        that(there, || format!("{all:?} {ports}"))
    });
}

/// How long a plain stop and start of the same application takes by hand.
fn by_hand(world: &World) -> Duration {
    let (port, name) = (free_port(), format!("{}-by-hand", world.project));
    let publish = format!("127.0.0.1:{port}:8080");
    world.docker.run(&["run", "--detach", "--name", &name, "--publish", &publish, &image("1")]);
    let asked = Asked::start(port);
    world.docker.run(&["stop", &name]);
    world.docker.run(&["start", &name]);
    within(secs(20), "an answer", || Load::try_once(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), "web"));
    let gap = asked.gap();
    world.docker.run(&["rm", "--force", &name]);
    gap
}

/// Nobody was started against a port that somebody had.
fn nobody_was_refused(controller: &Controller) {
    let (said, events) = (controller.said(), controller.events());
    assert!(!said.contains("already allocated") && !events.contains("already allocated"), "{events}");
}

#[test]
fn s86_a_host_port_moves_with_a_renamed_service() {
    scenario("86 a host port moves with a renamed service", secs(180), |world| {
        let port = free_port();
        world.write(&service("old", port));
        let controller = Controller::start(world);
        controller.converged("old", "", secs(60));
        let asked = Asked::start(port);
        std::fs::remove_file(world.file("old")).unwrap();
        world.write(&service("new", port));
        controller.meets("new", secs(20), "it says who has the port", |status| {
            status["waiting"].to_string().contains("old seems to be renamed to new, which has the same host port")
        });
        has(world, "new", port);
        controller.converged("new", "", secs(60));
        assert!(world.all_of("old").is_empty(), "{:?}", world.containers());
        let gap = asked.gap();
        say(&format!("  renamed: {gap:.2?} without an answer; a stop and a start by hand {:.2?}", by_hand(world)));
        nobody_was_refused(&controller);
    });
}

#[test]
fn s87_host_ports_move_between_services() {
    scenario("87 host ports move between services", secs(400), |world| {
        let [one, two, three] = [free_port(), free_port(), free_port()];
        for (name, port) in [("a", one), ("b", two), ("c", three)] {
            world.write(&service(name, port));
        }
        let controller = Controller::start(world);
        let revisions = ["a", "b", "c"].map(|name| controller.converged(name, "", secs(90)));

        // From one that is removed to another one, which has a port already.
        let asked = Asked::start(one);
        std::fs::remove_file(world.file("a")).unwrap();
        world.write(&service("b", one));
        has(world, "b", one);
        controller.converged("b", &revisions[1], secs(60));
        say(&format!("  of a removed service: {:.2?} without an answer", asked.gap()));

        // From one that stays: it gets another one.
        let asked = Asked::start(three);
        world.write(&service("c", two));
        world.write(&service("b", three));
        has(world, "b", three);
        has(world, "c", two);
        let [b, c] = ["b", "c"].map(|name| controller.converged(name, "", secs(60)));
        say(&format!("  of a service that has another one by now: {:.2?} without an answer", asked.gap()));

        // They swap.
        let asked = [two, three].map(Asked::start);
        world.write(&service("c", three));
        world.write(&service("b", two));
        has(world, "b", two);
        has(world, "c", three);
        controller.converged("b", &b, secs(60));
        controller.converged("c", &c, secs(60));
        say(&format!("  swapped: {:.2?} without an answer", asked.map(Asked::gap)));
        nobody_was_refused(&controller);
        let told = plan(world, &world.desired());
        assert_eq!(told.text.matches("nothing to do").count(), 2, "{}", told.text);
    });
}

#[test]
fn s88_a_host_port_that_a_stranger_has() {
    scenario("88 a host port that a stranger has", secs(180), |world| {
        let (own, taken) = (free_port(), free_port());
        world.write(&service("web", own));
        let controller = Controller::start(world);
        let first = controller.converged("web", "", secs(60));
        let before = world.ids("web");
        let stranger = format!("{}-stranger", world.project);
        let publish = format!("127.0.0.1:{taken}:8080");
        world.docker.run(&["run", "--detach", "--name", &stranger, "--publish", &publish, &image("1")]);
        let asked = Asked::start(own);
        world.write(&service("web", taken));
        controller.meets("web", secs(30), "it says who has the port", |status| {
            status["waiting"].to_string().contains(&format!("host port {taken}, which the container {stranger} has"))
        });
        let status = controller.status("web").unwrap();
        assert_eq!(status["available"], 1, "{}", brief(&status));
        assert!(before.iter().all(|id| world.ids("web").contains(id)), "what runs is left as it is");
        world.docker.run(&["rm", "--force", &stranger]);
        has(world, "web", taken);
        controller.converged("web", &first, secs(60));
        say(&format!("  its own port: {:.2?} without an answer until it was given up", asked.gap()));
        nobody_was_refused(&controller);
    });
}
