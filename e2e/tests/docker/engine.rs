//! The engine itself is restarted: a second dockerd of our own, for others may share the first one.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use e2e::clients::{Load, Use};
use e2e::controller::Controller;
use e2e::docker::Docker;
use e2e::document::Service;
use e2e::haproxy::{haproxy_image_on, haproxy_or_skip};
use e2e::program::{image, import_images, janitor, run_name};
use e2e::stage::{say, scenario_alone};
use e2e::world::World;
use e2e::{let_load_go_on, millis, secs, stays, that, within};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use crate::front::inside;

/// A dockerd of our own.
struct Engine {
    dir: TempDir,
    child: Child,
    docker: Docker,
    /// Its network namespace, once it is up: its containers' bridges are there, also while it is away.
    namespace: Option<File>,
}

impl Engine {
    /// Starts one with this `daemon.json`, or says why it cannot run here.
    fn start(settings: &str) -> Result<Self, String> {
        let uid = Command::new("id").arg("-u").output().map_err(|error| error.to_string())?;
        if uid.stdout != b"0\n" {
            return Err("a second dockerd needs root".to_owned());
        }
        // A short path: the sockets below it may have 107 bytes.
        let dir = tempfile::Builder::new().prefix(run_name()).tempdir_in("/tmp").map_err(|error| error.to_string())?;
        std::fs::write(dir.path().join("daemon.json"), settings).map_err(|error| error.to_string())?;
        let docker = Docker::at(&format!("unix://{}", dir.path().join("d.sock").display()));
        let child = Self::spawn(dir.path(), None)?;
        let mut engine = Self { dir, child, docker, namespace: None };
        engine.up()?;
        engine.namespace = File::open(format!("/proc/{}/ns/net", engine.child.id())).ok();
        Ok(engine)
    }

    fn spawn(dir: &Path, namespace: Option<&File>) -> Result<Child, String> {
        let log = File::options().create(true).append(true).open(dir.join("dockerd.log")).expect("a log file");
        let at = |name: &str| dir.join(name).display().to_string();
        // In a network namespace of its own: a dockerd takes over the packet filter's rules and the bridge docker0, or
        // removes it, and the other engine's would be the same ones. `unshare` and `nsenter` become dockerd: the same process.
        let mut command = match namespace {
            None => Command::new("unshare"),
            Some(_) => Command::new("nsenter"),
        };
        let path = namespace.map(|file| format!("=/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        command.arg(format!("--net{}", path.unwrap_or_default()));
        command.args(["dockerd", "--config-file"]).arg(at("daemon.json"));
        command.arg("--data-root").arg(at("data")).arg("--exec-root").arg(at("exec"));
        command.arg("--pidfile").arg(at("d.pid")).arg("--host").arg(format!("unix://{}", at("d.sock")));
        command.args(["--iptables=false", "--ip6tables=false", "--ip-masq=false"]);
        // Should both use the system's containerd.
        command.args(["--containerd-namespace", run_name(), "--log-level", "warn"]);
        // The one that is known to work here.
        command.args(["--storage-driver", &Docker::default().run(&["info", "--format", "{{.Driver}}"])]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().map_err(|error| format!("dockerd: {error}"))?;
        janitor(child.id());
        Ok(child)
    }

    fn up(&mut self) -> Result<(), String> {
        let began = Instant::now();
        while let Some(why) = self.docker.missing() {
            let ended = self.child.try_wait().expect("it can be waited for");
            if ended.is_some() || began.elapsed() > secs(60) {
                let log = std::fs::read_to_string(self.dir.path().join("dockerd.log")).unwrap_or_default();
                return Err(format!("a second dockerd does not come up here: {why}; {:?}", log.lines().last()));
            }
            std::thread::sleep(millis(200)); // The pace of asking.
        }
        Ok(())
    }

    /// Does something where its containers can be reached; what is begun there stays there.
    fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let namespace = self.namespace.as_ref().expect("it is up");
        let enter = || {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), network).expect("root may enter it");
            act()
        };
        std::thread::scope(|scope| scope.spawn(enter).join().expect("it ends"))
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill runs").success());
    }

    fn end(&mut self, signal: &str) {
        self.signal(signal);
        within(secs(60), "dockerd ends", || {
            self.child.try_wait().expect("it can be waited for").ok_or_else(|| "it runs".to_owned())
        });
    }

    /// Starts it again as often as it takes, as an init system would: on a busy machine a dockerd may give up on its
    /// containerd.
    fn again(&mut self) -> Result<(), String> {
        let mut last = Ok(());
        for _ in 0..4 {
            self.child = Self::spawn(self.dir.path(), self.namespace.as_ref())?;
            last = self.up();
            if last.is_ok() {
                break;
            }
            drop(self.child.kill());
            drop(self.child.wait());
        }
        last
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // One that was killed has left its containers running: only a dockerd ends them properly.
        let ended = self.child.try_wait().is_ok_and(|ended| ended.is_some());
        if let Some(why) = ended.then(|| self.again()).and_then(Result::err) {
            return say(&format!("  LEFT BEHIND in {}: {why}", self.dir.path().display()));
        }
        self.docker.each(&["ps", "-aq"], &["rm", "-fv"]);
        self.end("-TERM");
        // Its root is a mount of its own, and stays one.
        let script = r#"grep -o " $0/[^ ]*" /proc/self/mounts | sort -r | xargs -r umount -l"#;
        drop(Command::new("sh").args(["-c", script]).arg(self.dir.path()).status());
    }
}

#[test]
fn s06_the_engine_is_restarted() {
    scenario_alone("6 dockerd restart", secs(300), |outer| {
        let mut engine = match Engine::start("{}") {
            Ok(engine) => engine,
            Err(why) => return say(&format!("  SKIPPED: {why}")),
        };
        import_images(&engine.docker);
        let world = World::on(engine.docker.clone());
        // In that namespace nothing can be published on loopback: it is down.
        world.write(&Service::new("web", 3).key("ports", "[]").key("restart", "unless-stopped"));
        let controller = Controller::start_at(&world, &outer.path("own-engine.sock"));
        controller.converged("web", "", secs(90));
        // What is no reason to end here, but to fail.
        let mut complaints = Vec::new();
        for signal in ["-TERM", "-KILL"] {
            engine.end(signal);
            let away = Instant::now();
            while !controller.overview().unwrap()["health"]["blocked"].is_string() {
                if away.elapsed() > secs(10) {
                    complaints.push(format!("dockerd {signal}: 10 s later nobody is told that the engine is away"));
                    break;
                }
                std::thread::sleep(millis(200)); // The pace of asking.
            }
            engine.again().expect("dockerd comes up again");
            let began = Instant::now();
            let three = || {
                let all = world.all_of("web");
                that(all.len() == 3 && all.iter().all(|c| c.state == "running" && c.healthy), || format!("{all:?}"))?;
                let overview = controller.overview()?;
                that(overview["health"]["blocked"].is_null(), || overview.to_string())
            };
            within(secs(60), "three again", three);
            controller.converged("web", "", secs(60));
            let took = began.elapsed();
            stays(secs(4), "three", three);
            world.only("web", 3, &image("1"));
            say(&format!("  dockerd {signal}: converged {took:.1?} after it was back"));
        }
        drop(controller);
        drop(world);
        assert_eq!(complaints, Vec::<String>::new());
    });
}

/// With `live-restore` containers outlive their dockerd. So does the front, with the requests that go through it; and nobody is
/// replaced because health begins anew when dockerd comes back.
#[test]
fn s32_a_front_outlives_the_engine() {
    scenario_alone("32 front, dockerd restart", secs(300), |outer| {
        if haproxy_or_skip("32 front, dockerd restart").is_none() {
            return;
        }
        let mut engine = match Engine::start(r#"{"live-restore": true}"#) {
            Ok(engine) => engine,
            Err(why) => return say(&format!("  SKIPPED: {why}")),
        };
        import_images(&engine.docker);
        let haproxy = haproxy_image_on(&engine.docker).expect("it could be made before");
        let world = World::on(engine.docker.clone());
        let web = Service::new("web", 2)
            .key("ports", "[]")
            .key("expose", r#"["8080"]"#)
            .key("restart", "unless-stopped")
            .key("front", &format!("{{mode: http, image: \"{haproxy}\"}}"))
            .env("ON_TERM", "die");
        world.write(&web);
        let controller = Controller::start_at(&world, &outer.path("live-restore.sock"));
        let revision = controller.converged("web", "", secs(90));
        controller.converged("web-front", "", secs(60));
        let ids = || (world.ids("web"), world.ids("web-front"));
        let (before, at) = (ids(), inside(&world));
        let load = engine.inside(|| Load::start(at, "/", 200, Use::Mixed));
        let_load_go_on(secs(2));
        for signal in ["-TERM", "-KILL"] {
            let began = Instant::now();
            engine.end(signal);
            within(secs(10), "it is told that the engine is away", || {
                let overview = controller.overview()?;
                that(overview["health"]["blocked"].is_string(), || overview["health"].to_string())
            });
            let_load_go_on(secs(2));
            engine.again().expect("dockerd comes up again");
            within(secs(60), "the engine is acted upon again", || {
                let overview = controller.overview()?;
                that(overview["health"]["blocked"].is_null(), || overview["health"].to_string())
            });
            let away = began.elapsed();
            controller.converged("web", "", secs(60));
            controller.converged("web-front", "", secs(60));
            let_load_go_on(secs(3));
            let report = load.so_far();
            say(&format!("  dockerd {signal}, away for {away:.1?}: {report}"));
            assert_eq!(report.failed, 0, "{:#?}", report.errors);
            assert_eq!(ids(), before, "nobody was replaced:\n{}", controller.events());
        }
        world.write(&web.version("2"));
        controller.converged("web", &revision, secs(90));
        world.only("web", 2, &image("2"));
        let report = load.stop();
        say(&format!("  and a rollout: {report}"));
        assert_eq!(report.failed, 0, "{:#?}", report.errors);
        assert!(report.sent > 2000 && report.served.contains_key("2"), "{report}");
    });
}
