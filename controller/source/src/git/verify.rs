//! Who may ask for something: signatures by keys that are listed on this host.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::command::{Git, GitError};
use super::mirror::LOCAL;

/// What must be signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Nothing: who may push may deploy.
    #[default]
    None,
    /// The commit that is followed.
    Head,
    /// The tag that is followed.
    Tag,
}

/// Which signatures are wanted, and whose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signed {
    /// What must be signed.
    pub by: Verify,
    /// SSH keys, as ssh-keygen's ALLOWED SIGNERS has them.
    pub allowed_signers: Option<PathBuf>,
    /// PGP public keys, armored or not.
    pub keyring: Option<PathBuf>,
}

impl Signed {
    /// Whether it can be fulfilled; `of_tags` tells whether tags are followed.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn check(&self, of_tags: bool) -> Result<(), String> {
        let keys = self.allowed_signers.is_some() || self.keyring.is_some();
        match self.by {
            Verify::None if keys => Err("there are keys, but nothing is verified: say verify head or tag".to_owned()),
            Verify::Head | Verify::Tag if !keys => {
                Err("signatures are wanted, but no keys are given: allowed_signers \
                                                        (--git-allowed-signers) or keyring (--git-keyring)"
                    .to_owned())
            }
            Verify::Tag if !of_tags => {
                Err("a signed tag is wanted, but a branch is followed: follow refs/tags/... or semver:RANGE".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Why `object`, named by the ref `name`, is not believed; `None` if it is.
    pub(super) async fn doubt(&self, git: &Git, object: &str, name: &str) -> Result<Option<String>, GitError> {
        let (verb, what) = match self.by {
            Verify::None => return Ok(None),
            Verify::Head => ("verify-commit", "the commit"),
            Verify::Tag => ("verify-tag", "the tag"),
        };
        let commit = format!("{object}^{{commit}}");
        let object = if self.by == Verify::Head { commit.as_str() } else { object };
        let words = ["rev-parse", "--verify", "--quiet", object];
        let object = git.text(&words, LOCAL).await.map_err(|error| GitError::Broken(error.to_string()))?;
        let object = object.trim();
        if self.by == Verify::Tag {
            let kind = git.text(&["cat-file", "-t", object], LOCAL).await?;
            if kind.trim() != "tag" {
                return Ok(Some("the tag is not signed: it names a commit and no more".to_owned()));
            }
            let text = git.run(&["cat-file", "tag", object], LOCAL).await?;
            let text = String::from_utf8_lossy(&text);
            let own = text.lines().take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix("tag "));
            // Only its own name is signed: put under another one, an old tag would pass for a new one.
            if own.map(|own| format!("refs/tags/{own}")).as_deref() != Some(name) {
                return Ok(Some(format!("the tag calls itself {}, and not {name}", own.unwrap_or("nothing"))));
            }
        }
        self.keys(&git.home.join("gnupg")).await?;
        let ended = git.ask(&[verb, object], LOCAL).await?;
        if ended.success {
            return Ok(None);
        }
        Ok(Some(format!("{what} has no valid signature of a key that is listed ({})", ended.complaint)))
    }

    /// Makes a home for gpg that holds exactly the keys that are listed now: one that was taken off is gone.
    async fn keys(&self, home: &Path) -> Result<(), GitError> {
        let failed = |error: std::io::Error| GitError::Failed(format!("{} cannot be used: {error}", home.display()));
        if home.exists() {
            std::fs::remove_dir_all(home).map_err(failed)?;
        }
        let Some(keyring) = &self.keyring else { return Ok(()) };
        {
            use std::os::unix::fs::DirBuilderExt;
            std::fs::DirBuilder::new().mode(0o700).create(home).map_err(failed)?;
        }
        // Whoever is listed counts, trusted by somebody or not; nothing is looked up anywhere.
        std::fs::write(home.join("gpg.conf"), "trust-model always\nno-auto-key-retrieve\nno-autostart\n")
            .map_err(failed)?;
        let mut command = Command::new("gpg");
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).env("LC_ALL", "C");
        command.arg("--homedir").arg(home).args(["--batch", "--quiet", "--import", "--"]).arg(keyring);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let imported = tokio::time::timeout(LOCAL, command.status()).await;
        match imported {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(_)) => Err(GitError::Failed(format!("the keys in {} cannot be read by gpg", keyring.display()))),
            Ok(Err(error)) => Err(GitError::Failed(format!("gpg cannot be started ({error}): install it"))),
            Err(_) => Err(GitError::Slow("gpg".to_owned(), LOCAL)),
        }
    }
}
