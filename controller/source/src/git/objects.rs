//! Objects of a repository, read one by one by a single `git cat-file`.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use super::command::{Git, GitError, Group};

/// A running `git cat-file`; it ends with this.
pub(super) struct Objects {
    _group: Group,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Objects {
    pub(super) fn of(git: &Git) -> Result<Self, GitError> {
        let mut command = git.command(["cat-file", "--batch-command"]);
        command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
        let mut group = Group::begin(command)?;
        match (group.child.stdin.take(), group.child.stdout.take()) {
            (Some(ask), Some(answers)) => Ok(Self { _group: group, ask, answers: BufReader::new(answers) }),
            _ => Err(GitError::Absent("it has no ends".to_owned())),
        }
    }

    /// The size of a blob in bytes.
    pub(super) async fn size(&mut self, object: &str) -> Result<u64, GitError> {
        self.header("info", object).await
    }

    /// The content of a blob.
    pub(super) async fn content(&mut self, object: &str) -> Result<Vec<u8>, GitError> {
        let size = self.header("contents", object).await?;
        let mut bytes = vec![0; usize::try_from(size).map_err(|error| GitError::TooMuch(error.to_string()))? + 1];
        self.answers.read_exact(&mut bytes).await.map_err(|error| broken(&error))?;
        // The line's end, which is git's.
        bytes.pop();
        Ok(bytes)
    }

    async fn header(&mut self, verb: &str, object: &str) -> Result<u64, GitError> {
        self.ask.write_all(format!("{verb} {object}\n").as_bytes()).await.map_err(|error| broken(&error))?;
        let mut line = String::new();
        self.answers.read_line(&mut line).await.map_err(|error| broken(&error))?;
        let mut words = line.split_whitespace().skip(1);
        match (words.next(), words.next().map(str::parse)) {
            (Some("blob"), Some(Ok(size))) => Ok(size),
            _ => Err(GitError::Broken(format!("{object} is no file: {}", line.trim()))),
        }
    }
}

fn broken(error: &std::io::Error) -> GitError {
    GitError::Broken(format!("git cat-file: {error}"))
}
