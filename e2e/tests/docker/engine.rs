//! The engine itself is restarted: a second dockerd of our own, for others may share the first one.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use e2e::controller::Controller;
use e2e::docker::Docker;
use e2e::document::Service;
use e2e::program::{image, import_images, janitor, run_name};
use e2e::stage::{say, scenario};
use e2e::world::World;
use e2e::{millis, secs, that, within};
use tempfile::TempDir;

/// A dockerd of our own.
struct Engine {
    dir: TempDir,
    child: Child,
    docker: Docker,
}

impl Engine {
    /// Starts one, or says why it cannot run here.
    fn start() -> Result<Self, String> {
        let uid = Command::new("id").arg("-u").output().map_err(|error| error.to_string())?;
        if uid.stdout != b"0\n" {
            return Err("a second dockerd needs root".to_owned());
        }
        // A short path: the sockets below it may have 107 bytes.
        let dir = tempfile::Builder::new().prefix(run_name()).tempdir_in("/tmp").map_err(|error| error.to_string())?;
        std::fs::write(dir.path().join("daemon.json"), "{}").map_err(|error| error.to_string())?;
        let docker = Docker::at(&format!("unix://{}", dir.path().join("d.sock").display()));
        let child = Self::spawn(dir.path())?;
        let mut engine = Self { dir, child, docker };
        engine.up()?;
        Ok(engine)
    }

    fn spawn(dir: &Path) -> Result<Child, String> {
        let log = File::options().create(true).append(true).open(dir.join("dockerd.log")).expect("a log file");
        let at = |name: &str| dir.join(name).display().to_string();
        // In a network namespace of its own: a dockerd takes over the packet filter's rules and the bridge docker0, or
        // removes it, and the other engine's would be the same ones. `unshare` becomes dockerd: the same process.
        let mut command = Command::new("unshare");
        command.args(["--net", "dockerd", "--config-file"]).arg(at("daemon.json"));
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
            std::thread::sleep(millis(200));
        }
        Ok(())
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
            self.child = Self::spawn(self.dir.path())?;
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
    scenario("6 dockerd restart", secs(300), |outer| {
        let mut engine = match Engine::start() {
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
                std::thread::sleep(millis(200));
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
            // And it stays so.
            std::thread::sleep(secs(4));
            world.only("web", 3, &image("1"));
            say(&format!("  dockerd {signal}: converged {took:.1?} after it was back"));
        }
        drop(controller);
        drop(world);
        assert_eq!(complaints, Vec::<String>::new());
    });
}
