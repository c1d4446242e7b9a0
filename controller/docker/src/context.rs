//! Which engine is meant, as the docker CLI understands it: an address, or a context by name. Source: docker/cli,
//! `cli/command/cli.go` (`resolveContextName`) and `cli/context/store`.

use std::path::{Path, PathBuf};

use composed_core::engine::EngineError;
use composed_core::hex;
use ring::digest::{SHA256, digest};
use serde::Deserialize;

use super::errors::rejected;

/// The context that stands for `DOCKER_HOST` or the local socket.
const DEFAULT: &str = "default";

/// Where an engine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineAddress {
    /// Its address; `None` is the local socket.
    pub host: Option<String>,
    /// Where the certificates are of a context that has some.
    pub(super) certificates: Option<PathBuf>,
    /// The context that said so.
    pub(super) context: Option<String>,
}

/// A context's file, as far as it is looked at.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    #[serde(default)]
    endpoints: Endpoints,
}

#[derive(Default, Deserialize)]
struct Endpoints {
    #[serde(default)]
    docker: Endpoint,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Endpoint {
    host: Option<String>,
    #[serde(rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}

/// `config.json`, as far as it is looked at.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    current_context: String,
}

impl EngineAddress {
    /// An address without a context.
    pub fn at(host: &str) -> Self {
        Self { host: Some(host.to_owned()), ..Self::default() }
    }

    /// `host`, with the context that it comes from, for people.
    pub(super) fn named(&self, host: &str) -> String {
        self.context.as_ref().map_or_else(|| host.to_owned(), |context| format!("{host} (docker context `{context}`)"))
    }

    /// The engine that is meant: by `--context`, `--host`, `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context of docker's
    /// settings, in this order.
    ///
    /// # Errors
    /// `Rejected` with what to do, when there is no such context, or it leads to no engine that this program can talk to.
    pub fn resolve(host: Option<&str>, context: Option<&str>) -> Result<Self, EngineError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        resolve(host, context, &variable)
    }
}

fn resolve(
    host: Option<&str>,
    context: Option<&str>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<EngineAddress, EngineError> {
    let dir = variable("DOCKER_CONFIG").map(PathBuf::from);
    let dir = dir.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".docker")));
    let given = match (context, host) {
        (Some(name), _) => Some(name.to_owned()),
        (None, Some(host)) => return Ok(EngineAddress::at(host)),
        (None, None) if variable("DOCKER_HOST").is_some() => None,
        (None, None) => variable("DOCKER_CONTEXT").or_else(|| current(dir.as_deref()?)),
    };
    match given.filter(|name| name != DEFAULT) {
        Some(name) => of_context(&name, dir.as_deref()),
        None => Ok(EngineAddress { host: variable("DOCKER_HOST"), ..EngineAddress::default() }),
    }
}

/// The context that `docker context use` has set. Settings that cannot be read set none, as with docker.
fn current(dir: &Path) -> Option<String> {
    let file = dir.join("config.json");
    let text = std::fs::read(&file).ok()?;
    match serde_json::from_slice::<Config>(&text) {
        Ok(config) => Some(config.current_context).filter(|name| !name.is_empty()),
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "docker's settings cannot be read: the default engine is meant");
            None
        }
    }
}

fn of_context(name: &str, dir: Option<&Path>) -> Result<EngineAddress, EngineError> {
    let contexts = dir.map(|dir| dir.join("contexts")).unwrap_or_default();
    let id = hex::encode(digest(&SHA256, name.as_bytes()));
    let file = contexts.join("meta").join(&id).join("meta.json");
    let text = std::fs::read(&file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => rejected(format!(
            "there is no docker context `{name}` (no file {}): `docker context ls` shows those that there are; give another \
             --context, or --host URL",
            file.display()
        )),
        _ => rejected(format!("docker context `{name}` cannot be read: {}: {error}", file.display())),
    })?;
    let meta: Meta = serde_json::from_slice(&text)
        .map_err(|error| rejected(format!("docker context `{name}` cannot be read: {}: {error}", file.display())))?;
    let Endpoint { host, skip_tls_verify } = meta.endpoints.docker;
    if skip_tls_verify {
        return Err(rejected(format!(
            "docker context `{name}` skips the verification of its certificates, which composed does not: give it a --ca \
             (`docker context update`)"
        )));
    }
    let host = host.filter(|host| !host.is_empty());
    if let Some(host) = host.as_deref().filter(|host| !is_direct(host)) {
        return Err(rejected(format!(
            "docker context `{name}` is at {host}, and composed talks to engines by unix://, tcp://, http:// and https:// \
             only (for ssh, forward the socket: ssh -NL /tmp/docker.sock:/var/run/docker.sock HOST, and give --host \
             unix:///tmp/docker.sock)"
        )));
    }
    let certificates = contexts.join("tls").join(&id).join("docker");
    let certificates = certificates.is_dir().then_some(certificates);
    Ok(EngineAddress { host, certificates, context: Some(name.to_owned()) })
}

fn is_direct(host: &str) -> bool {
    ["unix://", "tcp://", "http://", "https://"].iter().any(|kind| host.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Docker's settings in a directory, with these contexts.
    fn settings(current: &str, contexts: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |path: PathBuf, value: serde_json::Value| {
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, value.to_string()).expect("written");
        };
        write(dir.path().join("config.json"), serde_json::json!({"auths": {}, "currentContext": current}));
        for (name, host) in contexts {
            let id = hex::encode(digest(&SHA256, name.as_bytes()));
            let meta = serde_json::json!({"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": false}}});
            write(dir.path().join("contexts/meta").join(id).join("meta.json"), meta);
        }
        dir
    }

    #[test]
    fn the_engine_is_the_one_that_docker_would_talk_to() {
        let contexts = [("near", "unix:///run/near.sock"), ("far", "tcp://10.0.0.7:2375"), ("none", "")];
        let dir = settings("near", &contexts);
        let plain = settings("", &contexts);
        let host = |dir: &tempfile::TempDir, host: Option<&str>, context: Option<&str>, env: &[(&str, &str)]| {
            let mut all: BTreeMap<_, _> = env.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            all.insert("DOCKER_CONFIG", dir.path().display().to_string());
            resolve(host, context, &|name| all.get(name).cloned()).expect("an engine").host
        };
        let some = |host: &str| Some(host.to_owned());
        assert_eq!(host(&plain, None, None, &[]), None, "the local socket");
        assert_eq!(host(&dir, None, None, &[]), some("unix:///run/near.sock"), "the current context");
        assert_eq!(host(&dir, None, None, &[("DOCKER_CONTEXT", "far")]), some("tcp://10.0.0.7:2375"));
        let by_host = [("DOCKER_CONTEXT", "far"), ("DOCKER_HOST", "tcp://h:1")];
        assert_eq!(host(&dir, None, None, &by_host), some("tcp://h:1"), "the address goes before");
        assert_eq!(host(&dir, None, Some("far"), &by_host), some("tcp://10.0.0.7:2375"), "but not before an option");
        assert_eq!(host(&dir, None, Some("default"), &by_host), some("tcp://h:1"));
        assert_eq!(host(&dir, Some("unix:///x"), None, &by_host), some("unix:///x"));
        assert_eq!(host(&dir, None, Some("none"), &[]), None);
    }

    #[test]
    fn a_context_that_leads_nowhere_says_what_to_do() {
        let dir = settings("", &[("far", "ssh://me@far")]);
        let why = |context: &str| {
            let config = dir.path().display().to_string();
            let variable = |name: &str| (name == "DOCKER_CONFIG").then(|| config.clone());
            resolve(None, Some(context), &variable).expect_err("no engine").to_string()
        };
        assert!(why("lost").contains("docker context ls"), "{}", why("lost"));
        assert!(why("far").contains("ssh://me@far") && why("far").contains("forward the socket"), "{}", why("far"));
    }
}
