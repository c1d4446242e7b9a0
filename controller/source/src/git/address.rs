//! Where a repository is. Only what git can be trusted with: https, ssh, and the host's own disk; never a password in an
//! address, because addresses are shown.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    url: String,
    kind: Kind,
}

/// By which protocol it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// On this host's disk.
    Local(PathBuf),
    /// By https; plain http only on this very host.
    Web,
    /// By ssh.
    Ssh,
}

impl Address {
    /// Reads `https://...`, `ssh://...`, `user@host:path`, `file:///...` or a path.
    ///
    /// # Errors
    /// What is wrong with it, in words; a password in it is not repeated.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.starts_with('-') || text.chars().any(char::is_control) {
            return Err("it is to be https://..., ssh://..., user@host:path, file:///... or a path".to_owned());
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            if authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
                return Err("there is a password in it, and addresses are shown: give a token file".to_owned());
            }
            let kind = match scheme {
                "file" if authority.is_empty() || authority == "localhost" => {
                    return Self::local(Path::new("/").join(path));
                }
                "https" => Kind::Web,
                "http" if is_this_host(host) => Kind::Web,
                "http" => return Err("what comes by plain http may be anybody's: use https".to_owned()),
                "ssh" => Kind::Ssh,
                _ => return Err("only https, ssh and file are supported".to_owned()),
            };
            if host.is_empty() || host.starts_with('-') || path.is_empty() {
                return Err(format!("it is to be {scheme}://HOST/PATH"));
            }
            return Ok(Self { url: text.to_owned(), kind });
        }
        match text.split_once(':') {
            Some((_, rest)) if rest.starts_with(':') => Err("only https, ssh and file are supported".to_owned()),
            // As git tells them apart: a path with a colon has a slash before it.
            Some((host, path)) if !host.contains('/') => {
                if host.is_empty() || path.is_empty() || host.contains("@-") {
                    return Err("it is to be USER@HOST:PATH".to_owned());
                }
                Ok(Self { url: text.to_owned(), kind: Kind::Ssh })
            }
            _ => Self::local(PathBuf::from(text)),
        }
    }

    fn local(path: PathBuf) -> Result<Self, String> {
        let path = std::path::absolute(path).map_err(|error| error.to_string())?;
        let shown = path.to_str().ok_or("the path is not UTF-8")?;
        Ok(Self { url: shown.to_owned(), kind: Kind::Local(path) })
    }

    /// What git is told.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// By which protocol it is reached.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The one protocol that git may use for it.
    pub(super) fn protocol(&self) -> &'static str {
        match self.kind {
            Kind::Local(_) => "file",
            Kind::Ssh => "ssh",
            Kind::Web if self.url.starts_with("http://") => "http",
            Kind::Web => "https",
        }
    }

    /// The scheme and the host, to which a token is bound, and the user named in it.
    pub(super) fn origin(&self) -> Option<(String, Option<&str>)> {
        let (scheme, rest) = self.url.split_once("://").filter(|_| self.kind == Kind::Web)?;
        let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        Some((format!("{scheme}://{host}/"), user))
    }

    /// A name for it: the last part of its path.
    pub fn name(&self) -> String {
        let path = self.url.trim_end_matches('/');
        let path = path.strip_suffix("/.git").unwrap_or(path);
        let last = path.rsplit(['/', ':']).next().unwrap_or(path);
        let last = last.strip_suffix(".git").unwrap_or(last);
        let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let name: String = last.chars().map(safe).collect();
        let name = name.trim_start_matches(['.', '-']);
        if name.is_empty() { "git".to_owned() } else { name.to_owned() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

fn is_this_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_git_can_be_trusted_with() {
        for (text, protocol, name) in [
            ("https://git.example/team/shop.git", "https", "shop"),
            ("https://oauth2@git.example/team/shop", "https", "shop"),
            ("http://127.0.0.1:3000/shop.git", "http", "shop"),
            ("http://[::1]:3000/shop.git", "http", "shop"),
            ("ssh://git@git.example:2222/team/shop.git", "ssh", "shop"),
            ("git@git.example:team/shop.git", "ssh", "shop"),
            ("file:///srv/git/shop.git/", "file", "shop"),
            ("/home/me/shop/.git", "file", "shop"),
            ("./a:b/shop", "file", "shop"),
        ] {
            let address = Address::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!((address.protocol(), address.name().as_str()), (protocol, name), "{text}");
        }
        for text in [
            "",
            "--upload-pack=x",
            "ext::sh -c x",
            "fd::1",
            "git://git.example/x",
            "http://git.example/x",
            "http://127.0.0.1.evil.example/x",
            "https://u:hunter2@git.example/x",
            "ssh://-oProxyCommand=x/y",
            "u@-oProxyCommand=x:y",
            "https:///x",
            "a\nb",
        ] {
            let why = Address::parse(text).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn a_token_is_bound_to_scheme_and_host() {
        let address = Address::parse("https://bot@git.example:8443/team/shop.git").unwrap();
        assert_eq!(address.origin(), Some(("https://git.example:8443/".to_owned(), Some("bot"))));
        assert_eq!(Address::parse("git@git.example:x").unwrap().origin(), None);
    }
}
