//! `composed demo-app`: a small web service that behaves as its environment says, for the demo and for the tests. Knows
//! nothing of the rest of composed.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `PORT` | where it listens | 8080 |
//! | `VERSION` | told in the body and in `X-Version` | 1 |
//! | `START_DELAY_MS` | it listens only after | 0 |
//! | `LATENCY_MS` | each answer takes | 0 |
//! | `HEALTH` | `/healthz` says `ok`, `never`, or `flap`s every second | ok |
//! | `CRASH_AFTER_MS` | it says so and exits after | never |
//! | `EXIT_CODE` | the code that it then exits with | 1 |
//! | `ON_TERM` | at SIGTERM or SIGINT it `drain`s, `die`s or `ignore`s it | drain |
//! | `SICK_FILE` | its healthcheck fails while there is this file | none |
//!
//! HTTP/1.1 and HTTP/2 without TLS: `/`, `/slow?ms=N`, `/healthz`, and what lasts (`long`).

mod long;
mod state;

use std::{
    env,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use self::state::App;

/// Its healthcheck, as a Compose `test`.
pub const HEALTHCHECK: &str = r#"["CMD", "/composed", "demo-app", "check"]"#;

/// Serves until it is told to end. The exit code is 0 after a drain.
pub async fn run() -> Result<ExitCode> {
    if let Some(after) = millis("CRASH_AFTER_MS")? {
        let version = env::var("VERSION").unwrap_or_default();
        let code = env::var("EXIT_CODE").ok().and_then(|code| code.parse().ok()).unwrap_or(1);
        drop(tokio::spawn(async move {
            tokio::time::sleep(after).await;
            println!("version {version} ends with code {code}");
            std::process::exit(code);
        }));
    }
    // Signals are taken from the start on: a process 1 without a handler would ignore them.
    let mut ended = Box::pin(ended(env::var("ON_TERM").unwrap_or_default())?);
    let app = Arc::new(App {
        version: env::var("VERSION").unwrap_or_else(|_| "1".to_owned()),
        hostname: std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned(),
        latency: millis("LATENCY_MS")?.unwrap_or_default(),
        health: env::var("HEALTH").unwrap_or_default(),
        started: Instant::now(),
    });
    tokio::select! {
        () = tokio::time::sleep(millis("START_DELAY_MS")?.unwrap_or_default()) => {}
        () = &mut ended => return Ok(ExitCode::SUCCESS),
    }
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port()?));
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let routes = Router::new().route("/", any(answer)).route("/slow", get(slow)).route("/healthz", get(healthz));
    let routes = routes.merge(long::routes()).with_state(app);
    axum::serve(listener, routes).with_graceful_shutdown(ended).await?;
    Ok(ExitCode::SUCCESS)
}

/// The healthcheck command: whether `/healthz` of the app in this container says 200. At most 5 s.
pub fn check() -> ExitCode {
    if let Some(file) = env::var_os("SICK_FILE").filter(|file| std::path::Path::new(file).exists()) {
        eprintln!("there is {}", file.display());
        return ExitCode::FAILURE;
    }
    match ask() {
        Ok(status) if status.contains(" 200 ") => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("{}", status.lines().next().unwrap_or_default());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Blocking and by hand: the check runs in each replica every few seconds and shall cost next to nothing.
fn ask() -> Result<String> {
    const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port()?));
    let mut stream = TcpStream::connect_timeout(&address, CHECK_TIMEOUT)?;
    stream.set_read_timeout(Some(CHECK_TIMEOUT))?;
    stream.write_all(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

async fn answer(State(app): State<Arc<App>>) -> Response {
    tokio::time::sleep(app.latency).await;
    let body = format!("version {} on {}\n", app.version, app.hostname);
    ([("X-Version", app.version.clone())], body).into_response()
}

/// `/slow?ms=N` answers after N ms more.
async fn slow(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let ms = query.as_deref().and_then(|query| query.strip_prefix("ms=")).and_then(|ms| ms.parse().ok());
    tokio::time::sleep(Duration::from_millis(ms.unwrap_or(1000))).await;
    answer(State(app)).await
}

async fn healthz(State(app): State<Arc<App>>) -> StatusCode {
    let well = match app.health.as_str() {
        "never" => false,
        "flap" => app.started.elapsed().as_secs().is_multiple_of(2),
        _ => true,
    };
    if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Resolves when it is time to stop accepting; with `die` it does not come back.
fn ended(how: String) -> Result<impl Future<Output = ()>> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
            match how.as_str() {
                "ignore" => {}
                "die" => std::process::exit(0),
                _ => return,
            }
        }
    })
}

fn port() -> Result<u16> {
    let text = env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    text.parse().with_context(|| format!("PORT={text} is not a port"))
}

fn millis(name: &str) -> Result<Option<Duration>> {
    match env::var(name).ok().filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => {
            let ms = text.parse().with_context(|| format!("{name}={text} is not a number of milliseconds"))?;
            Ok(Some(Duration::from_millis(ms)))
        }
    }
}
