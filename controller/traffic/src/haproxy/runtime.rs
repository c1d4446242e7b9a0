//! HAProxy's runtime API (haproxy `doc/management.txt`, 9.3), over any stream: a command, and its answer up to the next
//! prompt.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// An answer takes microseconds; this keeps a hung process from holding us.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
/// Longer answers are no HAProxy's: a thousand servers are 100 KiB.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// What an answer ends with in interactive mode.
const PROMPT: &[u8] = b"\n> ";

/// Something to talk over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection to the runtime API of one HAProxy process.
pub(super) struct Runtime {
    stream: Box<dyn Stream>,
}

/// A server as `show servers state` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) backend: String,
    pub(super) name: String,
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
    pub(super) weight: u32,
    pub(super) admin: Admin,
}

/// What a server is meant to do, by its `srv_admin_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admin {
    /// Take requests.
    Ready,
    /// Finish what it has, and take what belongs to it by persistence.
    Drain,
    /// Finish what it has.
    Maintenance,
}

impl Runtime {
    /// Begins to talk.
    pub(super) async fn over(stream: impl Stream + 'static) -> io::Result<Self> {
        let mut runtime = Self { stream: Box::new(stream) };
        runtime.ask("prompt").await?;
        Ok(runtime)
    }

    /// The answer to a command, without blank lines around it.
    pub(super) async fn ask(&mut self, command: &str) -> io::Result<String> {
        timeout(COMMAND_TIMEOUT, self.exchange(command)).await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", COMMAND_TIMEOUT.as_secs())))
        })
    }

    async fn exchange(&mut self, command: &str) -> io::Result<String> {
        // Each of them ends a command and begins another one.
        if command.contains(|c: char| c == ';' || c.is_control()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "that would be more than one command"));
        }
        self.stream.write_all(format!("{command}\n").as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(PROMPT) {
            if self.stream.read_buf(&mut answer).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "HAProxy closed its runtime API"));
            }
            if answer.len() > MAX_ANSWER {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer without an end"));
            }
        }
        answer.truncate(answer.len() - PROMPT.len());
        Ok(String::from_utf8_lossy(&answer).trim().to_owned())
    }

    /// All servers of all backends.
    pub(super) async fn servers(&mut self) -> io::Result<Vec<Server>> {
        parse_servers(&self.ask("show servers state").await?)
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))
    }

    /// The sessions of every server of every backend: requests under way, or connections where it speaks TCP.
    pub(super) async fn sessions(&mut self) -> io::Result<Vec<(String, String, u32)>> {
        parse_sessions(&self.ask("show stat -1 4 -1").await?)
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))
    }

    /// Whether this process only finishes what it has: after a reload the next one is asked by the same way in.
    pub(super) async fn is_stopping(&mut self) -> io::Result<bool> {
        Ok(self.ask("show info").await?.lines().any(|line| line.trim() == "Stopping: 1"))
    }

    /// The names of all backends.
    pub(super) async fn backends(&mut self) -> io::Result<Vec<String>> {
        let answer = self.ask("show backend").await?;
        if !answer.starts_with('#') {
            return Err(io::Error::new(io::ErrorKind::InvalidData, first_line(&answer)));
        }
        Ok(answer.lines().skip(1).map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
    }
}

/// A line of an answer that was not expected, fit for a message.
pub(super) fn first_line(answer: &str) -> String {
    answer.lines().next().unwrap_or("nothing").chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Reads `show servers state`, version 1: columns are found by their names, so later ones change nothing.
fn parse_servers(answer: &str) -> Result<Vec<Server>, String> {
    let mut lines = answer.lines().map(str::trim);
    if lines.next() != Some("1") {
        return Err(format!("it answered `show servers state` with: {}", first_line(answer)));
    }
    let header: Vec<&str> = lines.next().unwrap_or_default().trim_start_matches('#').split_whitespace().collect();
    let mut servers = Vec::new();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let field = |name: &str| header.iter().position(|column| *column == name).and_then(|at| words.get(at).copied());
        let (Some(backend), Some(name)) = (field("be_name"), field("srv_name")) else {
            return Err(format!("`show servers state` has a line that cannot be read: {}", first_line(line)));
        };
        let number = |name: &str| field(name).and_then(|text| text.parse::<u32>().ok()).unwrap_or_default();
        servers.push(Server {
            backend: backend.to_owned(),
            name: name.to_owned(),
            address: field("srv_addr").and_then(|text| text.parse().ok()),
            port: u16::try_from(number("srv_port")).unwrap_or_default(),
            weight: number("srv_uweight"),
            admin: admin(number("srv_admin_state")),
        });
    }
    Ok(servers)
}

/// Reads `show stat`: comma-separated, its columns named in the first line. Backend, server, sessions.
fn parse_sessions(answer: &str) -> Result<Vec<(String, String, u32)>, String> {
    let mut lines = answer.lines();
    let header = lines.next().and_then(|line| line.strip_prefix("# "));
    let columns: Vec<&str> = header.unwrap_or_default().split(',').collect();
    let column = |name: &str| columns.iter().position(|column| *column == name);
    let Some(((backend, server), now)) = column("pxname").zip(column("svname")).zip(column("scur")) else {
        return Err(format!("it answered `show stat` with: {}", first_line(answer)));
    };
    let each = lines.filter_map(|line| {
        let words: Vec<&str> = line.split(',').collect();
        Some(((*words.get(backend)?).to_owned(), (*words.get(server)?).to_owned(), words.get(now)?.parse().ok()?))
    });
    Ok(each.collect())
}

/// The bits of `srv_admin_state`. Source: haproxy `server-t.h`, `enum srv_admin`.
fn admin(bits: u32) -> Admin {
    const MAINTENANCE: u32 = 0x01 | 0x02 | 0x04 | 0x20 | 0x40;
    const DRAIN: u32 = 0x08 | 0x10;
    match bits {
        _ if bits & MAINTENANCE != 0 => Admin::Maintenance,
        _ if bits & DRAIN != 0 => Admin::Drain,
        _ => Admin::Ready,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As HAProxy 2.6 answers.
    const STATE: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
        srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state \
        bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr \
        srv_agent_addr srv_agent_port\n\
        3 port-80 1 aaa 10.0.0.2 2 0 100 1 0 1 0 0 2 0 0 0 - 8080 - 0 0 - - 0\n\
        3 port-80 2 bbb - 0 5 1 1 9 1 0 0 0 0 0 0 - 8080 - 0 0 - - 0\n\
        3 port-80 3 ccc fd00::2 2 8 1 1 9 1 0 0 0 0 0 0 - 8080 - 0 0 - - 0\n";

    #[test]
    fn servers_are_read_by_the_names_of_their_columns() {
        let servers = parse_servers(STATE).expect("servers");
        let brief: Vec<_> = servers.iter().map(|one| (one.name.as_str(), one.port, one.weight, one.admin)).collect();
        let want =
            [("aaa", 8080, 100, Admin::Ready), ("bbb", 8080, 1, Admin::Maintenance), ("ccc", 8080, 1, Admin::Drain)];
        assert_eq!(brief, want);
        assert_eq!(servers[0].address, "10.0.0.2".parse().ok());
        assert_eq!(servers[1].address, None);
        assert!(servers.iter().all(|server| server.backend == "port-80"));
        assert_eq!(parse_servers("1\n# be_id be_name srv_name\n").as_deref(), Ok(&[][..]));
    }

    #[test]
    fn sessions_are_read_by_the_names_of_their_columns() {
        let answer = "# pxname,svname,qcur,qmax,scur,smax,\nport-80,aaa,0,0,3,9,\nport-80,bbb,0,0,0,9,\n";
        let want = [("port-80".to_owned(), "aaa".to_owned(), 3), ("port-80".to_owned(), "bbb".to_owned(), 0)];
        assert_eq!(parse_sessions(answer).as_deref(), Ok(&want[..]));
        assert!(parse_sessions("Permission denied\n").is_err());
    }

    #[test]
    fn an_answer_that_is_none_is_told() {
        let why = parse_servers("Permission denied\n").expect_err("no servers");
        assert!(why.contains("Permission denied"), "{why}");
    }

    /// What a HAProxy that answers `more` without an end could send, and the answer to one question.
    async fn endless(more: &'static [u8]) -> (usize, io::Result<Vec<Server>>) {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let haproxy = tokio::spawn(async move {
            let mut sent = 0;
            let mut asked = [0; 64];
            drop(theirs.read(&mut asked).await);
            drop(theirs.write_all(PROMPT).await);
            drop(theirs.read(&mut asked).await);
            // A bound of its own.
            while sent < 8 * MAX_ANSWER && theirs.write_all(more).await.is_ok() {
                sent += more.len();
            }
            sent
        });
        let mut runtime = Runtime::over(ours).await.expect("a prompt");
        let answer = runtime.servers().await;
        drop(runtime);
        (haproxy.await.expect("its end"), answer)
    }

    #[tokio::test]
    async fn an_answer_without_an_end_is_read_up_to_its_bound() {
        let (sent, answer) = endless(&[b'a'; 4096]).await;
        assert!(answer.is_err() && sent < 2 * MAX_ANSWER, "{sent}: {answer:?}");
    }

    #[tokio::test]
    async fn one_question_is_one_command() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        theirs.write_all(PROMPT).await.expect("heard");
        let mut runtime = Runtime::over(ours).await.expect("a prompt");
        for command in ["show info; shutdown sessions", "show info\nquit", "show info\rquit", "a\0b"] {
            let refused = runtime.ask(command).await.expect_err(command);
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{command:?}");
        }
        drop(runtime);
        let mut asked = String::new();
        theirs.read_to_string(&mut asked).await.expect("its end");
        assert_eq!(asked, "prompt\n", "nothing of them was sent");
    }

    #[tokio::test]
    async fn answers_end_with_the_prompt_however_they_come() {
        let (ours, theirs) = tokio::io::duplex(1024);
        let haproxy = tokio::spawn(async move {
            let (mut theirs, mut asked) = (theirs, Vec::new());
            for answer in ["\n> ", "# name\nport-80\nport-81\n\n> ", "New server registered.\n\n\n> "] {
                asked.clear();
                while !asked.ends_with(b"\n") {
                    theirs.read_buf(&mut asked).await.expect("a command");
                }
                for byte in answer.as_bytes() {
                    theirs.write_all(&[*byte]).await.expect("heard");
                    tokio::task::yield_now().await;
                }
            }
        });
        let mut runtime = Runtime::over(ours).await.expect("a prompt");
        assert_eq!(runtime.backends().await.expect("backends"), ["port-80", "port-81"]);
        assert_eq!(runtime.ask("add server a/b 1.2.3.4:5").await.expect("an answer"), "New server registered.");
        haproxy.await.expect("its end");
        assert!(runtime.ask("show backend").await.is_err(), "it is gone");
    }
}
