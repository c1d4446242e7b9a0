//! Every listener of the real program under strangers: 2,000 idle connections on each, slow clients, other names.

mod addresses;
mod idle;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use composed_api::{Overview, client};
use composed_platform::listen::raise_descriptor_limit;
use ring::hmac;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::contract::docker::{Run, docker};

/// Idle connections on each listener.
const IDLE: usize = 2000;
/// The descriptors that the program has.
const DESCRIPTORS: &str = "512";
const SECRET: &str = "the-secret-of-the-shop";

/// The real program, with every listener that it has.
struct Program {
    child: Child,
    dir: tempfile::TempDir,
    instance: String,
    listen: SocketAddr,
    traefik: SocketAddr,
    dns: SocketAddr,
    webhooks: SocketAddr,
    view: Option<PathBuf>,
}

fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn git(dir: &Path, words: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=a", "-c", "user.email=a@example.org"]).args(words);
    let output = command.current_dir(dir).output().unwrap();
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn commit(repository: &Path, project: &str, image: &str, more: &str) {
    let text = format!(
        "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: {project}, name: web}}\nspec:\n  image: {image}\n{more}"
    );
    std::fs::write(repository.join("web.yaml"), text).unwrap();
    git(repository, &["add", "."]);
    git(repository, &["commit", "-q", "-m", image]);
}

impl Program {
    /// On the simulated engine, or on Docker with this image.
    fn start(image: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let instance = image.map_or("listeners", |image| image.split(':').next().unwrap()).to_owned();
        let repository = dir.path().join("shop");
        std::fs::create_dir(&repository).unwrap();
        git(&repository, &["init", "-q"]);
        commit(&repository, &instance, image.unwrap_or("web:1"), "");
        std::fs::write(dir.path().join("secret"), SECRET).unwrap();
        let [listen, traefik, dns, webhooks] = [free(), free(), free(), free()];
        let view = image.map(|_| dir.path().join("v.sock"));
        let program = Command::new("sh")
            .args(["-c", "ulimit -n \"$0\" && exec \"$@\"", DESCRIPTORS, env!("CARGO_BIN_EXE_composed"), "run"])
            .args(["--engine", if image.is_some() { "docker" } else { "simulated" }, "--instance", &instance])
            .arg("--state-dir")
            .arg(dir.path().join("state"))
            .arg("--socket")
            .arg(dir.path().join("s.sock"))
            .arg("--git")
            .arg(&repository)
            .args([
                "--allow-host",
                "composed.example.org,proxy",
                "--listen",
                &listen.to_string(),
                "--traefik-http",
                &traefik.to_string(),
            ])
            .args(["--dns", &dns.to_string(), "--git-webhook", &webhooks.to_string()])
            .args(["--git-webhook-provider", "github", "--git-webhook-secret-file"])
            .arg(dir.path().join("secret"))
            .args(view.iter().flat_map(|view| [Path::new("--view"), view]))
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child: program, dir, instance, listen, traefik, dns, webhooks, view }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("s.sock")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// Commits the service with this much more in its specification.
    fn commit(&self, image: &str, more: &str) {
        commit(&self.dir.path().join("shop"), &self.instance, image, more);
    }

    /// What the service's status says, once it says so.
    async fn until(&self, what: &str, is: impl Fn(&crd_schema::status::ServiceStatus) -> bool) -> Duration {
        let began = Instant::now();
        let mut last = String::new();
        while began.elapsed() < Duration::from_secs(90) {
            if let Ok((_, body)) = client::get(&self.socket(), "/v1/services").await {
                let overview: Overview = serde_json::from_slice(&body).unwrap();
                if overview.services.iter().any(|status| is(status)) {
                    return began.elapsed();
                }
                last = String::from_utf8_lossy(&body).into_owned();
            }
            sleep(Duration::from_millis(20)).await; // The pace of looking.
        }
        panic!("{what}: {last}\n{}", self.log());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if self.view.is_some() {
            let lock = format!("composed-lock-{}", self.instance);
            drop(Command::new("docker").args(["volume", "rm", &lock]).stderr(Stdio::null()).output());
        }
    }
}

/// Strangers that hold idle connections: one that is closed is opened again, at a bounded rate.
struct Strangers {
    // The descriptors of the test's own process are enough for one test's strangers.
    _alone: tokio::sync::MutexGuard<'static, ()>,
    tasks: Vec<JoinHandle<()>>,
    opened: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Strangers {
    async fn on(program: &Program) -> Self {
        static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let alone = ALONE.lock().await;
        let mut strangers = Self { _alone: alone, tasks: Vec::new(), opened: Arc::default(), stop: Arc::default() };
        for address in [program.listen, program.traefik, program.dns, program.webhooks] {
            strangers.hold(move || async move { TcpStream::connect(address).await.ok() });
        }
        for path in [Some(program.socket()), program.view.clone()].into_iter().flatten() {
            strangers.hold(move || {
                let path = path.clone();
                async move { UnixStream::connect(path).await.ok() }
            });
        }
        let (all, began) = (strangers.tasks.len() * IDLE, Instant::now());
        while strangers.opened.load(Ordering::Relaxed) < all {
            assert!(began.elapsed() < Duration::from_mins(1), "{} of {all}", strangers.opened.load(Ordering::Relaxed));
            sleep(Duration::from_millis(20)).await; // The pace of looking.
        }
        strangers
    }

    fn hold<S, F>(&mut self, connect: impl Fn() -> F + Send + Sync + 'static)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Option<S>> + Send + 'static,
    {
        let (opened, stop) = (Arc::clone(&self.opened), Arc::clone(&self.stop));
        self.tasks.push(tokio::spawn(async move {
            let mut held: Vec<S> = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                while held.len() < IDLE {
                    match connect().await {
                        Some(stream) => held.push(stream),
                        // Its queue is full.
                        None => sleep(Duration::from_millis(5)).await,
                    }
                    opened.fetch_add(1, Ordering::Relaxed);
                }
                // Those that were closed are opened again: up to 400 a second.
                sleep(Duration::from_millis(50)).await;
                let mut again = 0;
                let mut kept = Vec::new();
                for mut stream in held {
                    let closed = again < 20 && timeout(Duration::ZERO, stream.read_u8()).await.is_ok();
                    again += usize::from(closed);
                    if !closed {
                        kept.push(stream);
                    }
                }
                held = kept;
            }
        }));
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// One request by hand on a connection of its own; its whole answer.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> String {
    // A connection that is refused or closed shows in the answer.
    drop(stream.write_all(request.as_bytes()).await);
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    format!("{}{}", String::from_utf8_lossy(&answer), if read.is_err() { " (no end)" } else { "" })
}

async fn get(address: SocketAddr, path: &str, host: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    ask(TcpStream::connect(address).await.unwrap(), &request).await
}

/// A question for an address of `web.PROJECT`, by TCP: how many bytes the answer has.
async fn dns(address: SocketAddr, project: &str) -> usize {
    let label = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let mut question = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    question.extend([label("web"), label(project), vec![0, 0, 1, 0, 1]].concat());
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_u16(question.len().try_into().unwrap()).await.unwrap();
    stream.write_all(&question).await.unwrap();
    timeout(Duration::from_secs(10), stream.read_u16()).await.unwrap().unwrap_or_default().into()
}

/// A signed webhook: the first line of its answer.
async fn webhook(address: SocketAddr, body: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), body.as_bytes());
    let tag: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let request = format!(
        "POST /shop HTTP/1.1\r\nhost: hooks.example.org\r\nx-hub-signature-256: sha256={tag}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    ask(TcpStream::connect(address).await.unwrap(), &request).await.lines().next().unwrap_or_default().to_owned()
}

/// The 50th and 99th percentile of some requests.
async fn measured(name: &str, times: usize, one: impl AsyncFn(usize)) -> Duration {
    let mut took = Vec::new();
    for nth in 0..times {
        let began = Instant::now();
        one(nth).await;
        took.push(began.elapsed());
    }
    took.sort();
    let (median, p99) = (took[times / 2], took[times * 99 / 100]);
    eprintln!("{name}: median {median:?}, p99 {p99:?} of {times}");
    p99
}

/// All listeners answer; what the 99th percentile of the API's requests is.
async fn answers(program: &Program) -> Duration {
    let ok = |answer: String| assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}\n{}", program.log());
    let by_socket = measured("API socket", 200, async |_| {
        assert!(client::get(&program.socket(), "/v1/services").await.is_ok(), "{}", program.log());
    });
    let by_socket = by_socket.await;
    let by_tcp = measured("status by TCP", 200, async |_| ok(get(program.listen, "/v1/services", "localhost").await));
    let by_tcp = by_tcp.await;
    measured("Traefik's configuration", 50, async |_| ok(get(program.traefik, "/", "127.0.0.1").await)).await;
    measured("DNS by TCP", 50, async |_| assert!(dns(program.dns, &program.instance).await > 12)).await;
    measured("webhooks", 5, async |nth| {
        let answer = webhook(program.webhooks, &format!("{nth} {:?}", Instant::now())).await;
        assert!(answer.contains(" 202 ") || answer.contains(" 429 "), "{answer:?}\n{}", program.log());
    })
    .await;
    if let Some(view) = &program.view {
        measured("view", 50, async |_| {
            let stream = UnixStream::connect(view).await.unwrap();
            ok(ask(stream, "GET /containers/json HTTP/1.1\r\nhost: d\r\nconnection: close\r\n\r\n").await);
        })
        .await;
    }
    by_socket.max(by_tcp)
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
