//! What is not the engine hangs for a minute: a file, a registry, the disk of the state directory. An unrelated service goes on
//! as if it were alone, and what is slow is named.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use e2e::between::Between;
use e2e::controller::{Controller, ask, brief, condition};
use e2e::disk::Disk;
use e2e::program::image;
use e2e::slow_file::SlowFile;
use e2e::stage::{say, scenario_alone};
use e2e::world::World;
use e2e::{secs, that, within};

use crate::hangs_at_once::{Other, Took, is_prompt, service, slowest, watched};

/// So long they hang.
const HANGS: u64 = 60;

fn options(between: &Between) -> Vec<String> {
    vec!["--host".to_owned(), between.host()]
}

/// Changes a service again and again until a minute after `begin`; each is told.
fn changes(other: &mut Other<'_>, controller: &Controller, begin: Instant) -> Vec<Took> {
    let mut all = Vec::new();
    while begin.elapsed() < secs(HANGS) {
        all.push(other.change(controller));
    }
    all
}

fn tell(what: &str, all: &[Took], alone: Took) {
    let (many, worst) = (all.len(), slowest(all));
    say(&format!("  {what}: {many} changes, the slowest {worst:.2?}, alone {alone:.2?}"));
}

#[test]
fn s73_a_file_that_hangs_holds_up_no_other_file() {
    scenario_alone("73 file that hangs", secs(300), |world| {
        let slow = |version: u32| service("slow", version).yaml(&world.project);
        let file = match SlowFile::mount(&world.desired().join("slow"), "slow.yaml", &slow(1)) {
            Ok(file) => file,
            Err(why) => return say(&format!("  SKIPPED: {why}")),
        };
        let between = Between::start(&world.path(""));
        let controller = Controller::start_with(world, &options(&between));
        let first = controller.converged("slow", "", secs(60));
        let mut other = Other::new(world, &between, &controller, "other");
        let alone = other.alone(&controller);
        file.hang();
        file.set(&slow(2));
        let begin = Instant::now();
        let mut all = Vec::new();
        let complaints = watched(&controller, || {
            all.push(other.change(&controller));
            // Nobody is told of what changes behind a mount: the look at everything finds it, every 15 s.
            within(secs(40), "it is opened", || that(file.held() > 0, || "nobody has opened it".to_owned()));
            within(secs(10), "the file is named", || {
                let health = controller.overview()?["health"].to_string();
                that(health.contains("slow/slow.yaml"), || health)
            });
            all.extend(changes(&mut other, &controller, begin));
        });
        tell("a file hangs", &all, alone);
        assert_eq!(complaints, Vec::<String>::new(), "/readyz");
        is_prompt(&all, alone);
        let status = controller.status("slow").unwrap();
        assert!(status["revision"] == first.as_str() && status["available"] == 1, "{}", brief(&status));
        file.free();
        controller.converged("slow", &first, secs(60));
    });
}

/// A registry of which all connections are taken and none is answered, and one that knows no image; with when it was asked.
fn registries() -> (u16, u16, Arc<Mutex<Vec<Instant>>>) {
    let listen = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    };
    let ((silent, at), (knows_none, there)) = (listen(), listen());
    std::thread::spawn(move || silent.incoming().flatten().collect::<Vec<_>>());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut stream in knows_none.incoming().flatten() {
            let mut of: BufReader<TcpStream> = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            drop(of.read_line(&mut line));
            // Not the questions whether it speaks TLS.
            if line.starts_with("HEAD ") {
                noted.lock().unwrap().push(Instant::now());
            }
            let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            drop(stream.write_all(answer));
        }
    });
    (at, there, asked)
}

/// Tags of this test, gone when it is dropped.
struct Tags<'a>(&'a World, Vec<String>);

impl Drop for Tags<'_> {
    fn drop(&mut self) {
        for tag in &self.1 {
            drop(self.0.docker.output(&["rmi", "-f", tag]));
        }
    }
}

#[test]
fn s74_a_registry_that_never_answers_holds_up_nobody_else() {
    scenario_alone("74 registry that hangs", secs(300), |world| {
        let (silent, knows_none, asked) = registries();
        let (slow, other_one) = (format!("127.0.0.1:{silent}/slow:1"), format!("127.0.0.1:{knows_none}/app:1"));
        let _tags = Tags(world, vec![slow.clone(), other_one.clone()]);
        for tag in [&slow, &other_one] {
            world.docker.run(&["tag", &image("1"), tag]);
        }
        let follows = |name: &str, image: &str| {
            let update = "{policy: digest, interval: 1s}";
            service(name, 1).key("image", image).key("pull_policy", "missing").key("update", update)
        };
        let between = Between::start(&world.path(""));
        world.write(&follows("follows", &other_one));
        world.write(&service("pulls", 1));
        let controller = Controller::start_with(world, &options(&between));
        for name in ["follows", "pulls"] {
            controller.converged(name, "", secs(60));
        }
        let mut other = Other::new(world, &between, &controller, "other");
        let alone = other.alone(&controller);
        within(secs(20), "the other registry is asked", || {
            that(asked.lock().unwrap().len() > 3, || format!("{:?}", controller.status("follows")))
        });

        // Composed asks it for the tag's digest, and the engine for an image that is not there.
        let missing = format!("127.0.0.1:{silent}/missing:1");
        world.write(&follows("slow", &slow));
        world.write(&service("pulls", 2).key("image", &missing).key("pull_policy", "missing"));
        let begin = Instant::now();
        let mut all = Vec::new();
        let complaints = watched(&controller, || all = changes(&mut other, &controller, begin));
        tell("a registry hangs", &all, alone);
        within(secs(10), "it is named", || {
            let (slow, pulls) = (controller.status("slow")?, brief(&controller.status("pulls")?));
            let problem = slow["update"]["problem"].as_str().unwrap_or_default().to_owned();
            let told = problem.contains(&format!("127.0.0.1:{silent}")) && pulls.contains(&missing);
            that(told, || format!("{slow} {pulls}"))
        });
        assert_eq!(complaints, Vec::<String>::new(), "/readyz");
        is_prompt(&all, alone);
        let asked = asked.lock().unwrap().clone();
        let asked: Vec<_> = asked.into_iter().filter(|at| *at >= begin).chain([Instant::now()]).collect();
        let longest = asked.windows(2).map(|two| two[1] - two[0]).max().unwrap_or_default();
        say(&format!("  the other registry was asked {} times, once in {longest:.1?} at least", asked.len() - 1));
        assert!(longest < secs(5), "{longest:?}");
        controller.converged("slow", "", secs(60));
    });
}

#[test]
fn s75_a_disk_that_hangs_holds_up_nobody_and_nothing_is_lost() {
    scenario_alone("75 disk that hangs", secs(300), |world| {
        let disk = match Disk::mount(&world.state_dir()) {
            Ok(disk) => disk,
            Err(why) => return say(&format!("  SKIPPED: {why}")),
        };
        let between = Between::start(&world.path(""));
        for name in ["heals", "paused"] {
            world.write(&service(name, 1));
        }
        let mut controller = Controller::start_with(world, &options(&between));
        for name in ["heals", "paused"] {
            controller.converged(name, "", secs(60));
        }
        let mut other = Other::new(world, &between, &controller, "other");
        let alone = other.alone(&controller);
        say(&format!("  alone {alone:.2?}"));

        let generation = |controller: &Controller| controller.status("other").unwrap()["generation"].clone();
        let before = generation(&controller);
        let frozen = disk.freeze();
        let begin = Instant::now();
        // One whose process ends, one that is changed, and one that is paused by hand.
        let pid = world.docker.run(&["inspect", "--format", "{{.State.Pid}}", &format!("{}-heals-1", world.project)]);
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        let path = format!("/v1/services/{}/paused/pause", world.project);
        let mut answered = None;
        let mut all = Vec::new();
        let complaints = watched(&controller, || {
            std::thread::scope(|scope| {
                let paused = scope.spawn(|| ask(&controller.socket, "POST", &path));
                // The first change finds out that the disk hangs.
                all.push(other.change(&controller));
                within(secs(10), "it is told that the disk hangs", || {
                    let health = controller.overview()?["health"]["stateSlow"].to_string();
                    let both = [&health, &controller.said()];
                    that(both.iter().all(|words| words.contains("the state directory does not answer")), || {
                        health.clone()
                    })
                });
                say(&format!("  a disk that hangs is told after {:.1?}", begin.elapsed()));
                all.extend(changes(&mut other, &controller, begin));
                answered = Some(paused.join().unwrap());
            });
            // What has ended is put right meanwhile.
            controller.converged("heals", "", secs(30));
            drop(frozen);
        });
        tell("the disk hangs", &all, alone);
        assert_eq!(complaints, Vec::<String>::new(), "/readyz");
        is_prompt(&all, alone);
        controller.converged("heals", "", secs(60));
        within(secs(10), "it is told no more", || {
            let health = controller.overview()?["health"].clone();
            that(health["stateSlow"].is_null() && health["state"].is_null(), || health.to_string())
        });
        let is_paused = |controller: &Controller| !condition(&controller.status("paused").unwrap(), "Paused").is_null();
        let paused = is_paused(&controller);
        assert!(paused || !matches!(answered, Some(Ok((200, _)))), "{answered:?}");
        // What came of it is on the disk.
        let after = generation(&controller);
        assert_ne!(before, after);
        controller.kill();
        let controller = Controller::start_with(world, &options(&between));
        within(secs(30), "all is as it was", || {
            controller.is_ready()?;
            let now = (generation(&controller), is_paused(&controller));
            that(now == (after.clone(), paused), || format!("{now:?}"))
        });
    });
}
