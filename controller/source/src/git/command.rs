//! The git command: never by a shell, in an environment of its own, ended when it takes too long or says too much.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// More than this is read of no answer.
const MAX_ANSWER: u64 = 64 << 20;
/// So much is read of what it complains of.
const MAX_COMPLAINT: u64 = 16 << 10;
/// So much of that is shown.
const SHOWN: usize = 400;
/// The oldest git that can be used: it knows `cat-file --batch-command` and `GIT_CONFIG_GLOBAL`.
const OLDEST: (u32, u32) = (2, 36);
/// What git takes from this process's environment: how to find programs, proxies and certificate authorities.
const INHERITED: [&str; 11] = [
    "PATH",
    "https_proxy",
    "HTTPS_PROXY",
    "http_proxy",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
];

/// Why git did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum GitError {
    /// There is no git.
    #[error("git cannot be used ({0}): install it")]
    Absent(String),
    /// It ended with an error.
    #[error("{0}")]
    Failed(String),
    /// It took too long.
    #[error("git {0} was ended after {1:?}")]
    Slow(String, Duration),
    /// It brought or said too much.
    #[error("{0}")]
    TooMuch(String),
    /// It said what cannot be understood, or its files are not as they were written.
    #[error("the copy of the repository is broken ({0})")]
    Broken(String),
}

/// What git ended with.
pub(super) struct CommandOutput {
    pub(super) success: bool,
    pub(super) code: Option<i32>,
    pub(super) stdout: Vec<u8>,
    /// What it complained of, in one line.
    pub(super) complaint: String,
}

/// The git command for one repository.
#[derive(Clone, Debug)]
pub(super) struct Git {
    /// The bare repository.
    pub(super) dir: PathBuf,
    /// Its home, with the only configuration it has.
    pub(super) home: PathBuf,
    /// The one protocol that it may use.
    pub(super) protocol: &'static str,
}

impl Git {
    /// The command, with nobody at its ends.
    pub(super) fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("git");
        command.env_clear();
        command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        let fixed = [
            ("LC_ALL", "C"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_LITERAL_PATHSPECS", "1"),
            ("GIT_ALLOW_PROTOCOL", self.protocol),
        ];
        command.envs(fixed);
        command.env("HOME", &self.home).env("XDG_CONFIG_HOME", &self.home).env("GNUPGHOME", self.home.join("gnupg"));
        command.env("GIT_CONFIG_GLOBAL", self.home.join("config")).env("GIT_DIR", &self.dir);
        command.args(words).current_dir(&self.home);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Its helpers end with it: they are one group.
        command.process_group(0).kill_on_drop(true);
        command
    }

    /// Whether it is new enough: an older one would not heed all that it is told.
    pub(super) async fn check(&self) -> Result<(), GitError> {
        let said = self.text(&["version"], Duration::from_secs(10)).await?;
        let version = said.trim().strip_prefix("git version ").unwrap_or_default();
        let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
        let (first, second) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        if (first, second) >= OLDEST {
            return Ok(());
        }
        Err(GitError::Absent(format!(
            "version {}.{} or newer is needed, and this is {}",
            OLDEST.0,
            OLDEST.1,
            said.trim()
        )))
    }

    /// Runs it to its end; ending with an error is an answer, too.
    pub(super) async fn ask(&self, words: &[&str], within: Duration) -> Result<CommandOutput, GitError> {
        finish(self.command(words), words, &[], within).await
    }

    /// As [`Self::text`], with more in its environment and something to read, and what it says trimmed.
    pub(super) async fn told(
        &self,
        words: &[&str],
        environment: &[(&str, &OsStr)],
        input: &[u8],
        within: Duration,
    ) -> Result<String, GitError> {
        let mut command = self.command(words);
        command.envs(environment.iter().copied()).stdin(Stdio::piped());
        let ended = finish(command, words, input, within).await?;
        if !ended.success {
            return Err(GitError::Failed(ended.complaint));
        }
        Ok(String::from_utf8_lossy(&ended.stdout).trim().to_owned())
    }

    /// Runs it to its end and returns what it said; ending with an error is one.
    pub(super) async fn run(&self, words: &[&str], within: Duration) -> Result<Vec<u8>, GitError> {
        let ended = self.ask(words, within).await?;
        if ended.success { Ok(ended.stdout) } else { Err(GitError::Failed(ended.complaint)) }
    }

    /// As [`Self::run`], for what is text.
    pub(super) async fn text(&self, words: &[&str], within: Duration) -> Result<String, GitError> {
        String::from_utf8(self.run(words, within).await?).map_err(|error| GitError::Broken(error.to_string()))
    }
}

/// Runs a command to its end, with something to read where it has an end for that.
async fn finish(command: Command, words: &[&str], input: &[u8], within: Duration) -> Result<CommandOutput, GitError> {
    let verb = words.first().copied().unwrap_or_default();
    let mut group = Group::begin(command)?;
    let (stdin, stdout, stderr) = (group.child.stdin.take(), group.child.stdout.take(), group.child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // One that ends without reading it all says why by its exit code.
            stdin.write_all(input).await.ok();
        }
    };
    let all = async {
        let (stdout, stderr, ()) = tokio::join!(read(stdout, MAX_ANSWER), read(stderr, MAX_COMPLAINT), write);
        if stdout.len() as u64 > MAX_ANSWER {
            return Err(GitError::TooMuch(format!("git {verb} says more than {MAX_ANSWER} bytes")));
        }
        let status = group.child.wait().await.map_err(|error| GitError::Failed(error.to_string()))?;
        Ok(CommandOutput { success: status.success(), code: status.code(), stdout, complaint: one_line(&stderr) })
    };
    match tokio::time::timeout(within, all).await {
        Ok(ended) => {
            group.over = ended.is_ok();
            ended
        }
        Err(_) => Err(GitError::Slow(verb.to_owned(), within)),
    }
}

/// A process and all that it has started: ended together unless the process has ended by itself.
pub(super) struct Group {
    pub(super) child: Child,
    pub(super) over: bool,
}

impl Group {
    pub(super) fn begin(mut command: Command) -> Result<Self, GitError> {
        let child = command.spawn().map_err(|error| GitError::Absent(error.to_string()))?;
        Ok(Self { child, over: false })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id.filter(|_| !self.over) {
            // Gone already is as good.
            kill_process_group(id, Signal::KILL).ok();
        }
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        // What was read before an error is what there is; the exit code tells of the rest.
        drop((&mut from).take(most + 1).read_to_end(&mut bytes).await);
        if most == MAX_COMPLAINT {
            // Nobody shall wait for it to be read.
            drop(tokio::io::copy(&mut from, &mut tokio::io::sink()).await);
        }
    }
    bytes
}

/// What git complains of, as one line without control characters: a server may have written it.
fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let plain: String = lines.collect::<Vec<_>>().join("; ").chars().filter(|c| !c.is_control()).collect();
    match plain.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", plain.get(..end).unwrap_or_default()),
        None if plain.is_empty() => "it did not say why".to_owned(),
        None => plain,
    }
}

/// The size of a directory in bytes, as far as it can be seen.
pub(super) fn size(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let each = entries.flatten().map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => size(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    });
    each.sum()
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn what_a_server_says_is_one_short_line() {
        assert_eq!(one_line(b"remote: a\n\x1b[31mfatal: b\r\n\n"), "remote: a; [31mfatal: b");
        assert_eq!(one_line(b"\n"), "it did not say why");
        assert!(one_line(&[b'x'; 5000]).len() < 500);
    }
}
