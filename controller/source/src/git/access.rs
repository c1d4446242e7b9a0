//! What git may know: its whole configuration, and the ways to get in. Written to files that only this user reads; no
//! secret is ever on a command line, in an environment or in a log.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use composed_platform::files::{self, Mode};
use composed_platform::secret::read_secret;

use super::address::{Address, Kind};

/// How to get into a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The private key for ssh.
    pub ssh_key: Option<PathBuf>,
    /// The hosts that ssh trusts.
    pub known_hosts: Option<PathBuf>,
    /// The file with the token for https.
    pub token_file: Option<PathBuf>,
}

impl Access {
    /// Whether it fits the address.
    ///
    /// # Errors
    /// What is missing or in vain, in words.
    pub fn check(&self, address: &Address) -> Result<(), String> {
        let ssh = *address.kind() == Kind::Ssh;
        if ssh && (self.ssh_key.is_none() || self.known_hosts.is_none()) {
            return Err("by ssh, it needs a key (ssh_key, --git-ssh-key) and the host keys to trust (known_hosts, \
                        --git-known-hosts)"
                .to_owned());
        }
        if !ssh && (self.ssh_key.is_some() || self.known_hosts.is_some()) {
            return Err("a key and known hosts are for ssh, and this is no ssh address".to_owned());
        }
        if *address.kind() != Kind::Web && self.token_file.is_some() {
            return Err("a token is for https, and this is no https address".to_owned());
        }
        Ok(())
    }

    /// Writes git's home for one push. A repository of our own on this host's disk has its own hooks run, as with any push;
    /// another user's is not pushed to, since what its configuration says would be run in our name.
    ///
    /// # Errors
    /// As [`Self::prepare`], and where it is another user's.
    pub(super) fn prepare_push(&self, address: &Address, home: &Path) -> Result<(), String> {
        let Kind::Local(path) = address.kind() else { return self.prepare(address, None, home) };
        let git = path.join(".git");
        let place = if git.exists() { &git } else { path };
        let about = std::fs::metadata(place).map_err(|error| format!("{}: {error}", place.display()))?;
        if about.uid() != rustix::process::geteuid().as_raw() {
            return Err(format!(
                "{} is another user's, and a push would run what its configuration says: run composed as that user, or \
                 push by ssh or https",
                place.display()
            ));
        }
        write(&home.join("config"), &FIXED.replace("\thooksPath = /dev/null\n", ""))
    }

    /// Writes git's home anew. Called before each use of the network, so that a token or a key that was replaced is used.
    ///
    /// # Errors
    /// What cannot be read or written; never a token.
    pub(super) fn prepare(&self, address: &Address, signers: Option<&Path>, home: &Path) -> Result<(), String> {
        let mut config = String::from(FIXED);
        if let Kind::Local(path) = address.kind() {
            // Another user's repository is read as data; its own configuration is not heeded in this one.
            for path in [path.clone(), path.join(".git")] {
                writeln!(config, "[safe]\n\tdirectory = {}", quoted(&path)?).ok();
            }
        }
        if let Some(signers) = signers {
            writeln!(config, "[gpg \"ssh\"]\n\tallowedSignersFile = {}", quoted(signers)?).ok();
        }
        if let (Some(file), Some((origin, user))) = (&self.token_file, address.origin()) {
            let credentials = format!("{}:{}", user.unwrap_or("git"), read_secret(file)?);
            let credentials = BASE64.encode(credentials);
            writeln!(config, "[http \"{origin}\"]\n\textraHeader = \"Authorization: Basic {credentials}\"").ok();
        }
        if let (Some(key), Some(known)) = (&self.ssh_key, &self.known_hosts) {
            let file = home.join("ssh_config");
            write(&file, &ssh_config(key, known)?)?;
            // git has a shell take this line apart; the path is quoted for both.
            let command = format!("ssh -F '{}'", plain(&file)?);
            writeln!(config, "[core]\n\tsshCommand = \"{command}\"\n[ssh]\n\tvariant = ssh").ok();
        }
        write(&home.join("config"), &config)
    }
}

/// No hooks, no helpers, no redirects, no submodules; git tidies up in the foreground.
const FIXED: &str = "\
[core]
\thooksPath = /dev/null
\tfsmonitor = false
\taskPass =
[credential]
\thelper =
[fetch]
\trecurseSubmodules = false
\tfsckObjects = true
[submodule]
\trecurse = false
[http]
\tfollowRedirects = false
\tlowSpeedLimit = 100
\tlowSpeedTime = 30
[gc]
\tautoDetach = false
\tpruneExpire = now
[maintenance]
\tautoDetach = false
[gpg \"x509\"]
\tprogram = /bin/false
";

fn ssh_config(key: &Path, known: &Path) -> Result<String, String> {
    let (key, known) = (quoted(key)?, quoted(known)?);
    Ok(format!(
        "IdentityFile {key}\nIdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile {known}\nGlobalKnownHostsFile \
         /dev/null\nStrictHostKeyChecking yes\nUpdateHostKeys no\nBatchMode yes\nPreferredAuthentications \
         publickey\nForwardAgent no\nForwardX11 no\nClearAllForwardings yes\nPermitLocalCommand no\nConnectTimeout \
         15\nServerAliveInterval 10\nServerAliveCountMax 3\n"
    ))
}

/// A path that may stand between quotes in the files of git, ssh and the shell.
fn plain(path: &Path) -> Result<&str, String> {
    let text = path.to_str().filter(|text| !text.contains(|c: char| c.is_control() || "\"'\\%$`".contains(c)));
    text.ok_or_else(|| format!("the path {} has characters that git or ssh may misread: use another", path.display()))
}

fn quoted(path: &Path) -> Result<String, String> {
    let path = std::path::absolute(path).map_err(|error| error.to_string())?;
    plain(&path).map(|text| format!("\"{text}\""))
}

/// Replaces a file whole; nobody else may read it (mode 0600).
fn write(path: &Path, text: &str) -> Result<(), String> {
    let written = files::replace_with_mode(path, text.as_bytes(), Mode::Private, false);
    written.map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_to_its_host_only_and_into_a_file_of_ours() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("token");
        std::fs::write(&file, "hunter2\n").unwrap();
        let access = Access { token_file: Some(file.clone()), ..Access::default() };
        let address = Address::parse("https://git.example/a/b.git").unwrap();
        access.prepare(&address, None, home.path()).unwrap();
        let config = home.path().join("config");
        let text = std::fs::read_to_string(&config).unwrap();
        let header = format!(
            "[http \"https://git.example/\"]\n\textraHeader = \"Authorization: Basic {}\"",
            BASE64.encode("git:hunter2")
        );
        assert!(text.contains(&header), "{text}");
        assert_eq!(config.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&file, "hunter2 \nmore").unwrap();
        let why = access.prepare(&address, None, home.path()).unwrap_err();
        assert!(!why.contains("hunter2"), "{why}");
    }

    #[test]
    fn each_way_in_has_its_own_keys() {
        let check = |address: &str, access: &Access| access.check(&Address::parse(address).unwrap());
        let ssh = Access { ssh_key: Some("k".into()), known_hosts: Some("h".into()), token_file: None };
        let token = Access { token_file: Some("t".into()), ..Access::default() };
        assert_eq!(check("git@h:x", &ssh), Ok(()));
        assert_eq!(check("https://h/x", &token), Ok(()));
        for (address, access) in
            [("git@h:x", &Access::default()), ("git@h:x", &token), ("https://h/x", &ssh), ("/srv/x", &token)]
        {
            assert!(check(address, access).is_err(), "{address}");
        }
    }
}
