//! A bare copy of what is followed in a repository. It is ours alone: fetched into, read from, thrown away when broken.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crd_schema::status::CommitStatus;

use super::access::Access;
use super::address::Address;
use super::command::{CommandOutput, Git, GitError, size};
use super::refs::{Follow, Offer, head, is_object, offers};

/// The largest copy in bytes.
const MAX_SIZE: u64 = 512 << 20;
/// How often a growing copy is measured.
const MEASURE: Duration = Duration::from_millis(500);
/// Asking for refs takes no longer.
const LS_REMOTE_TIMEOUT: Duration = Duration::from_secs(45);
/// Fetching takes no longer.
const FETCH: Duration = Duration::from_mins(5);
/// Everything on the own disk takes no longer.
pub(super) const LOCAL: Duration = Duration::from_mins(1);

/// How much history is fetched to find one commit in it: at first, and then.
const FEW: &str = "--depth=100";
const ALL: &str = "--unshallow";

/// The newest that was fetched.
const SEEN: &str = "refs/composed/seen";
/// The last that was good: it is not tidied away.
const GOOD: &str = "refs/composed/good";

/// What is kept of a repository.
#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) git: Git,
    address: Address,
    access: Access,
    signers: Option<PathBuf>,
    max_size: u64,
    // Held as long as this is used: two processes must not tidy up after each other.
    _lock: File,
}

impl Mirror {
    /// Opens the copy in `room`, or begins one. `None` while another process uses it.
    pub(super) async fn open(
        room: &Path,
        address: &Address,
        access: &Access,
        signers: Option<&Path>,
    ) -> Result<Option<Self>, GitError> {
        let failed = |error: std::io::Error| GitError::Failed(format!("{} cannot be used: {error}", room.display()));
        let home = room.join("home");
        make(&home).map_err(failed)?;
        let lock = File::create(room.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let git = Git { dir: room.join("mirror.git"), home, protocol: address.protocol() };
        let (address, access, signers) = (address.clone(), access.clone(), signers.map(Path::to_owned));
        let mirror = Self { git, address, access, signers, max_size: MAX_SIZE, _lock: lock };
        mirror.prepare()?;
        mirror.git.check().await?;
        if !mirror.git.dir.join("HEAD").exists() {
            mirror.begin("sha1").await?;
        }
        Ok(Some(mirror))
    }

    /// Writes the configuration anew.
    pub(super) fn prepare(&self) -> Result<(), GitError> {
        let prepared = self.access.prepare(&self.address, self.signers.as_deref(), &self.git.home);
        prepared.map_err(GitError::Failed)
    }

    /// Pushes a commit to a branch of the repository, with these ways in. One that does not come after what is there, or that
    /// its own hooks do not let pass, is refused by it.
    ///
    /// # Errors
    /// Also where it is on this host's disk and another user's: a push runs what its configuration says.
    pub(super) async fn push(&self, access: &Access, commit: &str, branch: &str) -> Result<(), GitError> {
        access.prepare_push(&self.address, &self.git.home).map_err(GitError::Failed)?;
        let refspec = format!("{commit}:{branch}");
        let words = ["push", "--quiet", "--no-recurse-submodules", "--", self.address.url(), &refspec];
        let pushed = self.git.run(&words, LS_REMOTE_TIMEOUT).await;
        // What is fetched is fetched with its own.
        self.prepare()?;
        pushed.map(drop)
    }

    /// Throws the copy away and begins another.
    pub(super) async fn begin(&self, format: &str) -> Result<(), GitError> {
        if self.git.dir.exists() {
            std::fs::remove_dir_all(&self.git.dir).map_err(|error| GitError::Failed(error.to_string()))?;
        }
        let dir = self.git.dir.to_string_lossy();
        let words = ["init", "--quiet", "--bare", "--template=", "--object-format", format, "--", &dir];
        self.git.run(&words, LOCAL).await.map(drop)
    }

    /// What the repository offers of what is followed; with `head`, the branch that its `HEAD` is.
    pub(super) async fn offers(&self, follow: &Follow) -> Result<(Vec<Offer>, Option<String>), GitError> {
        self.prepare()?;
        let words = ["ls-remote", "--quiet", "--symref", "--", self.address.url(), follow.pattern()];
        let text = self.git.text(&words, LS_REMOTE_TIMEOUT).await?;
        Ok((offers(&text), head(&text)))
    }

    /// Fetches one ref; returns the object it names there. With it comes no more history than tells whether the commit
    /// `base` is in it.
    pub(super) async fn fetch(&self, offer: &Offer, base: Option<&str>) -> Result<String, GitError> {
        self.tidy();
        let format = if offer.object.len() == 64 { "sha256" } else { "sha1" };
        if self.git.text(&["rev-parse", "--show-object-format"], LOCAL).await?.trim() != format {
            self.begin(format).await?;
        }
        match base {
            None => self.fetch_to(offer, &["--depth=1"]).await?,
            Some(base) if self.has(base).await? => self.fetch_to(offer, &[]).await?,
            Some(base) => {
                self.fetch_to(offer, &[FEW]).await?;
                if !self.has(base).await? && self.git.dir.join("shallow").exists() {
                    self.fetch_to(offer, &[ALL]).await?;
                }
            }
        }
        self.named(SEEN).await?.ok_or_else(|| GitError::Broken("what was fetched is not there".to_owned()))
    }

    async fn fetch_to(&self, offer: &Offer, depth: &[&str]) -> Result<(), GitError> {
        let refspec = format!("+{}:{SEEN}", offer.name);
        let fixed = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"];
        let words = [&fixed[..], depth, &["--", self.address.url(), &refspec]].concat();
        let fetched = self.bounded(&words).await;
        if fetched.is_err() {
            self.tidy();
        }
        let ended = fetched?;
        if ended.success { Ok(()) } else { Err(GitError::Failed(ended.complaint)) }
    }

    async fn bounded(&self, words: &[&str]) -> Result<CommandOutput, GitError> {
        let objects = self.git.dir.join("objects");
        let grown = async {
            loop {
                tokio::time::sleep(MEASURE).await;
                if size(&objects) > self.max_size {
                    return;
                }
            }
        };
        let too_much = || {
            let most = self.max_size >> 20;
            GitError::TooMuch(format!(
                "its copy would be larger than {most} MiB: keep deployment files in a repository of their own"
            ))
        };
        tokio::select! {
            ended = self.git.ask(words, FETCH) => if size(&objects) > self.max_size { Err(too_much()) } else { ended },
            () = grown => Err(too_much()),
        }
    }

    /// Removes what a git that was killed has left; nobody else works here.
    fn tidy(&self) {
        let dirs = [self.git.dir.clone(), self.git.dir.join("refs/composed"), self.git.dir.join("objects/pack")];
        for entry in dirs.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".lock") || name.starts_with("tmp_") {
                // What cannot be removed is met again by git, which says so.
                drop(std::fs::remove_file(entry.path()));
            }
        }
    }

    /// The object that a ref of ours names.
    async fn named(&self, name: &str) -> Result<Option<String>, GitError> {
        let ended = self.git.ask(&["rev-parse", "--verify", "--quiet", name], LOCAL).await?;
        let text = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
        Ok((ended.success && is_object(&text)).then_some(text))
    }

    /// Whether nothing is missing of what is here, as far as it can be told.
    pub(super) async fn is_whole(&self) -> bool {
        let asked = self.git.ask(&["fsck", "--connectivity-only", "--no-dangling", "--no-progress"], LOCAL).await;
        asked.map_or(true, |ended| ended.success)
    }

    /// Whether an object is here.
    pub(super) async fn has(&self, object: &str) -> Result<bool, GitError> {
        Ok(self.git.ask(&["cat-file", "-e", object], LOCAL).await?.success)
    }

    /// Keeps an object as good.
    pub(super) async fn keep(&self, object: &str) -> Result<(), GitError> {
        self.git.run(&["update-ref", GOOD, object], LOCAL).await.map(drop)
    }

    /// The commit that an object is or points to.
    pub(super) async fn about(&self, object: &str, repository: &str) -> Result<CommitStatus, GitError> {
        let words = ["log", "-1", "--no-show-signature", "--format=%H%x00%an <%ae>%x00%s%x00%ct", object, "--"];
        let text = self.git.run(&words, LOCAL).await.map_err(|error| GitError::Broken(error.to_string()))?;
        let text = String::from_utf8_lossy(&text);
        let mut parts = text.trim_end_matches('\n').split('\0');
        let (id, author, subject, at) = (parts.next(), parts.next(), parts.next(), parts.next());
        let at = at.and_then(|at| at.parse().ok()).and_then(|at| jiff::Timestamp::from_second(at).ok());
        match (id, author, subject, at) {
            (Some(id), Some(author), Some(subject), Some(at)) if is_object(id) => Ok(CommitStatus {
                repository: repository.to_owned(),
                id: id.to_owned(),
                author: clip(author),
                subject: clip(subject),
                at,
            }),
            _ => Err(GitError::Broken(format!("{object} is no commit"))),
        }
    }

    /// Whether `new` has `old` among its ancestors, or is it.
    pub(super) async fn descends(&self, old: &str, new: &str) -> Result<bool, GitError> {
        if !self.has(old).await? {
            return Ok(false);
        }
        let ended = self.git.ask(&["merge-base", "--is-ancestor", old, new], LOCAL).await?;
        match ended.code {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(GitError::Broken(ended.complaint)),
        }
    }
}

/// The longest author or subject in characters.
const SHOWN: usize = 120;

/// What people wrote, as one line without control characters.
fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

#[cfg(test)]
mod tests;

fn make(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}
