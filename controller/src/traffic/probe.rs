//! The controller's own readiness probe: one question, and the task that asks it again and again. Knows addresses, not
//! containers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crd_schema::{ComposeDuration, HttpProbe, Readiness};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, timeout};

use crate::model::Probe;

/// The time between two questions, where none is given. Ten times Kubernetes' pace, because a rollout waits for it.
pub const PERIOD: Duration = Duration::from_secs(1);
/// The most one question may take, where nothing is given (Kubernetes' `timeoutSeconds`).
pub const TIMEOUT: Duration = Duration::from_secs(1);
/// What is read to find the status behind interim answers.
const HEAD: u64 = 8 * 1024;
/// What is read of the rest, so that the connection ends in order.
const TAIL: u64 = 16 * 1024;
/// How long the rest is waited for.
const TAIL_PATIENCE: Duration = Duration::from_millis(100);

/// What is said before the first answer.
pub fn not_asked_yet() -> Probe {
    Probe::Failing("not asked yet".to_owned())
}

/// Asks at once and then every period, at any of the addresses, and tells `verdict`. Ends with its receivers. One
/// success or failure is enough (thresholds of 1).
pub async fn keep_asking(
    readiness: Readiness,
    addresses: Vec<IpAddr>,
    verdict: watch::Sender<Probe>,
    changed: impl Fn(),
) {
    let period = readiness.period.map_or(PERIOD, ComposeDuration::get).max(Duration::from_millis(1));
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut best = 0;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = verdict.closed() => return,
        }
        let answer = tokio::select! {
            answer = ask_any(&readiness, &addresses, &mut best) => answer,
            () = verdict.closed() => return,
        };
        if verdict.send_if_modified(|old| std::mem::replace(old, answer.clone()) != answer) {
            changed();
        }
    }
}

/// Asks at the address that answered well last, then at the others: a container of several networks may listen on one.
async fn ask_any(readiness: &Readiness, addresses: &[IpAddr], best: &mut usize) -> Probe {
    let mut first = None;
    for offset in 0..addresses.len() {
        let at = (*best + offset) % addresses.len();
        let Some(address) = addresses.get(at) else { break };
        match ask(readiness, *address).await {
            Ok(()) => {
                *best = at;
                return Probe::Passing;
            }
            Err(why) => first = first.or(Some(why)),
        }
    }
    Probe::Failing(first.unwrap_or_else(|| "it has no address".to_owned()))
}

/// One question. The error is for people.
pub async fn ask(readiness: &Readiness, address: IpAddr) -> Result<(), String> {
    let limit = readiness.timeout.map_or(TIMEOUT, ComposeDuration::get);
    let question = async {
        match (&readiness.http, &readiness.tcp) {
            (Some(http), _) => get(http, address).await,
            (None, Some(tcp)) => connect(SocketAddr::new(address, tcp.port)).await.map(drop),
            (None, None) => Ok(()),
        }
    };
    timeout(limit, question).await.unwrap_or_else(|_| Err("timed out".to_owned()))
}

async fn connect(at: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(at).await.map_err(|error| words(&error))
}

/// Ready when the status is 200 to 399, as in Kubernetes; a redirect is not followed.
async fn get(probe: &HttpProbe, address: IpAddr) -> Result<(), String> {
    let at = SocketAddr::new(address, probe.port);
    let own = if probe.port == 80 { at.to_string().trim_end_matches(":80").to_owned() } else { at.to_string() };
    let host = probe.host.as_deref().unwrap_or(&own);
    if [probe.path.as_str(), host].iter().any(|text| text.contains(|c: char| c.is_ascii_control() || c == ' ')) {
        return Err("its path or host cannot be sent".to_owned());
    }
    let question = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: composed-probe/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        probe.path,
        env!("CARGO_PKG_VERSION"),
    );
    let mut stream = connect(at).await?;
    stream.write_all(question.as_bytes()).await.map_err(|error| words(&error))?;
    let status = read_status(&mut stream).await?;
    // An application that is cut off in the middle of an answer may call that an error.
    let rest = async { tokio::io::copy(&mut (&mut stream).take(TAIL), &mut tokio::io::sink()).await };
    drop(timeout(TAIL_PATIENCE, rest).await);
    if (200..400).contains(&status) { Ok(()) } else { Err(format!("status {status}")) }
}

async fn read_status(stream: &mut TcpStream) -> Result<u16, String> {
    let mut head = stream.take(HEAD);
    let mut text = Vec::with_capacity(512);
    loop {
        match status(&text) {
            Some(Ok(status)) => return Ok(status),
            Some(Err(())) => return Err("no HTTP answer".to_owned()),
            None => {}
        }
        match head.read_buf(&mut text).await {
            Ok(0) if text.is_empty() => return Err("closed without an answer".to_owned()),
            Ok(0) => return Err("no HTTP answer".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(words(&error)),
        }
    }
}

/// The final status of an answer, as far as it has come in. `None`: not there yet.
fn status(text: &[u8]) -> Option<Result<u16, ()>> {
    let mut rest = text;
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let Some(status) = rest.get(..end).and_then(status_of_line) else { return Some(Err(())) };
        if status >= 200 {
            return Some(Ok(status));
        }
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n")?;
        rest = rest.get(end + 4..)?;
    }
}

fn status_of_line(line: &[u8]) -> Option<u16> {
    let rest = std::str::from_utf8(line.get(..12)?).ok()?.strip_prefix("HTTP/1.")?;
    let (_, code) = rest.split_once(' ')?;
    code.parse().ok().filter(|code| (100..600).contains(code))
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        io::ErrorKind::TimedOut => "timed out".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_the_first_that_is_final() {
        assert_eq!(status(b"HTTP/1.1 20"), None);
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n"), Some(Ok(204)));
        assert_eq!(status(b"HTTP/1.0 503\r\n\r\n"), Some(Ok(503)));
        assert_eq!(status(b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"), None);
        assert_eq!(status(b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\n"), Some(Ok(200)));
        for bad in ["SSH-2.0-OpenSSH_9\r\n", "HTTP/1.1 abc\r\n", "\r\n", "HTTP/1.1 999 x\r\n", "HTTP/2 200\r\n"] {
            assert_eq!(status(bad.as_bytes()), Some(Err(())), "{bad}");
        }
    }
}
