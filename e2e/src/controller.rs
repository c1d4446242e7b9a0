//! The real program as a child process, and what it says on its socket.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{composed, janitor};
use crate::silence::silences;
use crate::stage::say;
use crate::world::World;
use crate::{millis, secs, that, within};

/// A running `composed run`; killed when it is dropped.
#[derive(Debug)]
pub struct Controller {
    child: Child,
    /// Where it answers.
    pub socket: PathBuf,
    project: String,
    /// What it says on standard error.
    pub log: PathBuf,
}

/// The options of every call in a world.
fn common(world: &World, socket: &Path) -> Command {
    of_instance(world, &world.project, &world.state_dir(), socket)
}

fn of_instance(world: &World, instance: &str, state_dir: &Path, socket: &Path) -> Command {
    let mut command = Command::new(composed());
    command.env_remove("COMPOSED_ENGINE").env_remove("COMPOSED_CONFIRM_DELETION");
    command.arg("--instance").arg(instance);
    command.arg("--state-dir").arg(state_dir);
    command.arg("--socket").arg(socket);
    if let Some(host) = world.docker.host() {
        command.args(["--host", host]);
    }
    command.stdin(Stdio::null());
    command
}

impl Controller {
    /// Starts it on the world's documents.
    pub fn start(world: &World) -> Self {
        Self::start_at(world, &world.socket())
    }

    /// Starts it with more options of `run`.
    pub fn start_with(world: &World, more: &[String]) -> Self {
        Self::start_at_with(world, &world.socket(), more)
    }

    /// Starts it with another socket, and more options of `run`.
    pub fn start_at_with(world: &World, socket: &Path, more: &[String]) -> Self {
        Self::begin(world, socket, more, &[])
    }

    /// Starts it on a git repository in place of the world's documents; it is asked every few seconds.
    pub fn start_on_git(world: &World, repository: &Path) -> Self {
        let repository = repository.to_string_lossy();
        let words = ["--git", &repository, "--git-interval", "5s"].map(str::to_owned);
        Self::launch(world, &world.socket(), &words, &[])
    }

    /// Starts it with these environment variables.
    pub fn start_in(world: &World, environment: &[(&str, PathBuf)]) -> Self {
        Self::begin(world, &world.socket(), &[], environment)
    }

    /// Starts it with another socket.
    pub fn start_at(world: &World, socket: &Path) -> Self {
        Self::begin(world, socket, &[], &[])
    }

    fn begin(world: &World, socket: &Path, more: &[String], environment: &[(&str, PathBuf)]) -> Self {
        let documents = world.desired().to_string_lossy().into_owned();
        Self::launch(world, socket, &[more, &[documents]].concat(), environment)
    }

    fn launch(world: &World, socket: &Path, words: &[String], environment: &[(&str, PathBuf)]) -> Self {
        // One log for all controllers of a socket: the story as a whole.
        let log = socket.with_extension("log");
        let file = File::options().create(true).append(true).open(&log).expect("a log file");
        let mut command = common(world, socket);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.arg("run").args(words).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().expect("composed starts");
        janitor(child.id());
        Self { child, socket: socket.to_owned(), project: world.project.clone(), log }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM, and its end within 15 s.
    pub fn stop(&mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        within(secs(15), "the controller ends after SIGTERM", || {
            self.child.try_wait().expect("it can be waited for").ok_or_else(|| "it runs".to_owned())
        })
    }

    /// Everything it says now, or why it says nothing.
    pub fn overview(&self) -> Result<Value, String> {
        get(&self.socket, "/v1/services")
    }

    /// What it says about a service, or why not.
    pub fn status(&self, service: &str) -> Result<Value, String> {
        self.of(&self.overview()?, service)
    }

    fn of(&self, overview: &Value, service: &str) -> Result<Value, String> {
        let services = overview["services"].as_array().ok_or("no list of services")?;
        let found = services.iter().find(|s| s["project"] == self.project.as_str() && s["name"] == service);
        found.cloned().ok_or_else(|| format!("no service {service}: {overview}"))
    }

    /// `Ok` if `/readyz` says that it is ready, else what it says.
    pub fn is_ready(&self) -> Result<(), String> {
        match ask(&self.socket, "GET", "/readyz")? {
            (200, _) => Ok(()),
            (status, body) => Err(format!("{status} {body}")),
        }
    }

    /// Waits until the status of a service is such. Follows it by long poll, so as to see what lasts only a moment.
    pub fn meets(&self, service: &str, limit: Duration, what: &str, mut such: impl FnMut(&Value) -> bool) {
        let end = Instant::now() + limit;
        let mut path = "/v1/services".to_owned();
        let mut last = "nothing yet".to_owned();
        while Instant::now() < end {
            let Ok(overview) = get(&self.socket, &path) else {
                std::thread::sleep(millis(10)); // It does not answer yet: the pace of asking.
                continue;
            };
            path = format!("/v1/services?after={}", overview["version"]);
            match self.of(&overview, service) {
                Ok(status) if such(&status) => return,
                Ok(status) => last = brief(&status),
                Err(error) => last = error,
            }
        }
        panic!("not within {limit:?}: {what}; last: {last}");
    }

    /// Waits until a service is as its document says: nothing left to do, the revision another one than `not`.
    /// Returns its revision.
    pub fn converged(&self, service: &str, not: &str, limit: Duration) -> String {
        within(limit, &format!("{service} converges"), || {
            let status = self.status(service)?;
            let revision = status["revision"].as_str().unwrap_or_default().to_owned();
            let rests = status["waiting"].as_array().is_none_or(Vec::is_empty);
            let reason = reason(&status, "Progressing");
            let whole = status["available"] == status["replicas"] && status["live"] == status["replicas"];
            // See `s03_apply_...`: for a moment the status is at rest while the last leaver still drains.
            let leaving =
                status["instances"].as_array().is_some_and(|all| all.iter().any(|i| i["phase"] == "Draining"));
            let done = reason == "NewRevisionAvailable" && rests && whole && !leaving;
            that(done && revision != not, || brief(&status))?;
            Ok(revision)
        })
    }

    /// Waits until so many replicas of the revision are there, and no other; returns the revision.
    pub fn scaled(&self, service: &str, replicas: u32, revision: &str, limit: Duration) -> String {
        within(limit, &format!("{replicas} of {service}"), || {
            let status = self.status(service)?;
            let there = status["instances"].as_array().map(Vec::len);
            let whole = status["available"] == replicas && there == usize::try_from(replicas).ok();
            that(whole && status["revision"] == revision, || brief(&status))
        });
        revision.to_owned()
    }

    /// Waits until the condition `Progressing` of a service has a reason.
    pub fn reason(&self, service: &str, wanted: &str, limit: Duration) -> Value {
        within(limit, &format!("{service} says {wanted}"), || {
            let status = self.status(service)?;
            that(reason(&status, "Progressing") == wanted, || brief(&status))?;
            Ok(status)
        })
    }

    /// What it did, a line each.
    pub fn events(&self) -> String {
        let events = get(&self.socket, "/v1/events").unwrap_or_default();
        let line = |e: &Value| format!("{} {} because {} {}", e["at"], e["action"], e["cause"], e["outcome"]);
        events.as_array().map(|all| all.iter().map(line).collect::<Vec<_>>().join("\n")).unwrap_or_default()
    }

    /// Everything it said on standard error.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The reason of a condition.
pub fn reason(status: &Value, kind: &str) -> String {
    condition(status, kind)["reason"].as_str().unwrap_or_default().to_owned()
}

/// A condition of a status.
pub fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let found = status["conditions"].as_array().and_then(|all| all.iter().find(|c| c["type"] == kind));
    found.unwrap_or(&Value::Null)
}

/// A status in a line.
pub fn brief(status: &Value) -> String {
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let conditions: Vec<_> =
        conditions.iter().map(|c| format!("{}={}: {}", c["type"], c["reason"], c["message"])).collect();
    let instances = status["instances"].as_array().cloned().unwrap_or_default();
    let instances: Vec<_> = instances.iter().map(|i| format!("{} {} {}", i["name"], i["phase"], i["reason"])).collect();
    format!(
        "{} available of {} (live {}); {}; replicas {}; waiting {}; error {}",
        status["available"],
        status["replicas"],
        status["live"],
        conditions.join("; "),
        instances.join(", "),
        status["waiting"],
        status["error"]
    )
}

/// A GET on a unix socket.
pub fn get(socket: &Path, path: &str) -> Result<Value, String> {
    let (_, body) = ask(socket, "GET", path)?;
    serde_json::from_str(&body).map_err(|error| format!("{error} in {body}"))
}

/// Asks something on a unix socket; returns the answer's status and body.
pub fn ask(socket: &Path, method: &str, path: &str) -> Result<(u16, String), String> {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(secs(10)))?;
        stream.write_all(format!("{method} {path} HTTP/1.0\r\nHost: composed\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| format!("the controller does not answer: {error}"))?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("no answer: {text}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.map(|status| (status, body.to_owned())).ok_or_else(|| format!("no status: {text}"))
}

/// What came of a verb that ends.
#[derive(Debug)]
pub struct Done {
    /// The exit code.
    pub code: i32,
    /// Standard output, then standard error.
    pub text: String,
    /// The time it took.
    pub took: Duration,
}

/// Runs `composed apply PATH` with more arguments, to its end.
pub fn apply(world: &World, path: &Path, more: &[&str]) -> Done {
    let mut command = common(world, &world.socket());
    command.arg("apply").arg(path).args(["--timeout", "120s"]).args(more);
    finish(command)
}

/// Runs a verb that asks the controller of a world.
pub fn verb(world: &World, words: &[&str]) -> Done {
    let mut command = common(world, &world.socket());
    command.args(words);
    finish(command)
}

/// Runs `composed plan PATH`.
pub fn plan(world: &World, path: &Path) -> Done {
    let mut command = common(world, &world.socket());
    command.arg("plan").arg(path);
    finish(command)
}

/// Runs `composed rollout` with these words, to its end.
pub fn rollout(world: &World, words: &[&str]) -> Done {
    let mut command = common(world, &world.socket());
    command.arg("rollout").args(words);
    finish(command)
}

/// Begins `composed rollout` with these words.
pub fn rollout_begun(world: &World, words: &[&str]) -> Child {
    let mut command = common(world, &world.socket());
    let child = command.arg("rollout").args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.expect("composed starts");
    janitor(child.id());
    child
}

/// Runs `composed plan` in a directory with a Compose project, with Compose's own options.
pub fn plan_in(world: &World, dir: &Path, options: &[String]) -> Done {
    let mut command = common(world, &world.socket());
    command.arg("plan").args(options).arg("--host-dir").arg(dir).current_dir(dir);
    if !options.iter().any(|option| option == "-f") {
        command.arg(".");
    }
    finish(command)
}

/// Runs a verb on a Compose project in `dir`, with Compose's own options, as an instance of the project's own name.
pub fn alone(world: &World, project: &str, dir: &Path, verb: &[&str], options: &[String]) -> Done {
    let at = |what: &str| world.path(&format!("{project}.{what}"));
    let mut command = of_instance(world, project, &at("state"), &at("sock"));
    command.args(verb).args(options).arg("--host-dir").arg(dir).current_dir(dir);
    if !options.iter().any(|option| option == "-f") {
        command.arg(".");
    }
    finish(command)
}

/// As [`apply`], with a Docker address of one's own in the environment.
pub fn apply_to(world: &World, path: &Path, docker_host: &str) -> Done {
    let mut command = common(world, &world.socket());
    command.arg("apply").arg(path).env("DOCKER_HOST", docker_host);
    finish(command)
}

/// So long may a command say nothing without a reason; what is longer than half a second is told.
const SILENCE: Duration = Duration::from_secs(30);

fn finish(mut command: Command) -> Done {
    let began = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("composed runs");
    let errors = child.stderr.take().expect("its standard error");
    let errors = std::thread::spawn(move || std::io::read_to_string(errors).unwrap_or_default());
    let mut lines = Vec::new();
    let mut output = BufReader::new(child.stdout.take().expect("its standard output"));
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        lines.push((began.elapsed(), String::from_utf8_lossy(&std::mem::take(&mut line)).into_owned()));
    }
    let status = child.wait().expect("it ends");
    let took = began.elapsed();
    let mut text: String = lines.iter().map(|(_, line)| line.as_str()).collect();
    text += &errors.join().unwrap_or_default();
    if let Some(longest) = silences(&lines, took).into_iter().max_by_key(|silence| silence.lasted) {
        if longest.lasted > millis(500) {
            say(&format!("  nothing was said for {:.1?}, after: {}", longest.lasted, longest.after.trim_end()));
        }
        assert!(longest.lasted < SILENCE, "{longest:?}\n{text}");
    }
    Done { code: status.code().unwrap_or(-1), text, took }
}
