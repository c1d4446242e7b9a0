//! Who we are to a registry: from Docker's own configuration (`config.json`) and the helpers that it names, read anew each
//! time, so that `docker login` counts at once. Nothing of it is kept or shown.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;

/// A helper that does not answer for so long is given up: one that asks a person cannot be answered here.
const HELPER_PATIENCE: Duration = Duration::from_secs(10);
/// The user's name that marks a refresh token. Source: docker/cli `credentials/native_store.go`.
const TOKEN: &str = "<token>";

/// A name and what proves it.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// A refresh token for the registry's token server.
    Token(String),
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login")
    }
}

/// Docker's configuration.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    dir: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    auths: BTreeMap<String, Auth>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    #[serde(rename = "auth")]
    both: String,
    username: String,
    password: String,
    identitytoken: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl Credentials {
    /// Where Docker looks: `DOCKER_CONFIG`, else `.docker` in the home directory.
    pub fn from_environment() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self { dir: set("DOCKER_CONFIG").or_else(|| set("HOME").map(|home| home.join(".docker"))) }
    }

    /// The configuration in this directory.
    pub fn in_dir(dir: PathBuf) -> Self {
        Self { dir: Some(dir) }
    }

    /// The login for a registry (`Reference::key`), if there is one.
    ///
    /// # Errors
    /// What is wrong with the configuration or with a helper, in words without any secret.
    pub async fn find(&self, key: &str) -> Result<Option<Login>, String> {
        let Some(path) = self.dir.as_ref().map(|dir| dir.join("config.json")) else { return Ok(None) };
        let text = match tokio::fs::read(&path).await {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
        };
        // The parser's own words may quote what it has read.
        let config: Config = serde_json::from_slice(&text).map_err(|error| {
            format!("{}:{}:{} is not Docker's configuration", path.display(), error.line(), error.column())
        })?;
        if let Some(helper) = config.cred_helpers.get(key).or(config.creds_store.as_ref())
            && let Some(login) = ask(helper, key).await?
        {
            return Ok(Some(login));
        }
        let found = config.auths.iter().find(|(name, _)| host(name) == key);
        found.map_or(Ok(None), |(name, auth)| {
            auth.login().map_err(|why| format!("{}: auths, {name}: {why}", path.display()))
        })
    }
}

impl Auth {
    fn login(&self) -> Result<Option<Login>, &'static str> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Login::Token(self.identitytoken.clone())));
        }
        if !self.username.is_empty() {
            return Ok(Some(Login::Password { user: self.username.clone(), password: self.password.clone() }));
        }
        if self.both.is_empty() {
            return Ok(None);
        }
        let plain = BASE64_STANDARD.decode(self.both.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let plain = plain.ok_or("`auth` is not base64 of `name:password`")?;
        let (user, password) = plain.split_once(':').ok_or("`auth` is not base64 of `name:password`")?;
        let password = password.trim_end_matches('\0');
        Ok(Some(Login::Password { user: user.to_owned(), password: password.to_owned() }))
    }
}

/// `https://index.docker.io/v1/` is `index.docker.io`. Source: docker/cli `credentials.ConvertToHostname`.
fn host(name: &str) -> &str {
    let bare = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    bare.split('/').next().unwrap_or(bare)
}

/// Asks `docker-credential-HELPER`. Source: docker/docker-credential-helpers.
async fn ask(helper: &str, key: &str) -> Result<Option<Login>, String> {
    let program = format!("docker-credential-{helper}");
    if !helper.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) {
        return Err(format!("`{helper}` is not the name of a credential helper"));
    }
    let server = if key == "index.docker.io" { "https://index.docker.io/v1/" } else { key };
    let work = async {
        let mut child = tokio::process::Command::new(&program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(server.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(HELPER_PATIENCE, work).await;
    let output = output.map_err(|_| format!("{program} did not answer within {} s", HELPER_PATIENCE.as_secs()))?;
    let output = output.map_err(|error| format!("{program} cannot be run: {error}"))?;
    if !output.status.success() {
        // The helpers say so on standard output; whatever else is there is not repeated.
        let said = String::from_utf8_lossy(&output.stdout).to_lowercase();
        return if said.contains("not found") {
            Ok(None)
        } else {
            Err(format!("{program} get ended with {}", output.status))
        };
    }
    let answer: Answer =
        serde_json::from_slice(&output.stdout).map_err(|_| format!("{program} answered no credentials"))?;
    Ok(Some(match answer.username.as_str() {
        TOKEN => Login::Token(answer.secret),
        _ => Login::Password { user: answer.username, password: answer.secret },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, password: &str) -> Login {
        Login::Password { user: user.to_owned(), password: password.to_owned() }
    }

    async fn found(config: &str, key: &str) -> Result<Option<Login>, String> {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("config.json"), config).expect("write");
        Credentials::in_dir(dir.path().to_owned()).find(key).await
    }

    #[tokio::test]
    async fn logins_are_found_by_host() {
        let auth = BASE64_STANDARD.encode("ann:pass:word");
        let config = format!(
            r#"{{"auths": {{"https://index.docker.io/v1/": {{"auth": "{auth}"}}, "localhost:5000": {{"identitytoken": "t"}},
               "empty": {{}}, "plain": {{"username": "bob", "password": "x"}}}}}}"#
        );
        assert_eq!(found(&config, "index.docker.io").await, Ok(Some(password("ann", "pass:word"))));
        assert_eq!(found(&config, "localhost:5000").await, Ok(Some(Login::Token("t".to_owned()))));
        assert_eq!(found(&config, "plain").await, Ok(Some(password("bob", "x"))));
        assert_eq!(found(&config, "empty").await, Ok(None));
        assert_eq!(found(&config, "localhost").await, Ok(None));
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(Credentials::in_dir(dir.path().to_owned()).find("x").await, Ok(None), "no file, no login");
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_without_the_secret() {
        for config in [r#"{"auths": {"a": {"auth": "hunter2"}}}"#, r#"{"auths": {"a": "hunter2"}}"#, "hunter2"] {
            let why = found(config, "a").await.expect_err(config);
            assert!(why.contains("config.json") && !why.contains("hunter2"), "{why}");
        }
        let why = found(r#"{"credsStore": "../../bin/sh"}"#, "a").await.expect_err("a path");
        assert!(why.contains("not the name"), "{why}");
        let why = found(r#"{"credHelpers": {"a": "there-is-none"}}"#, "a").await.expect_err("no such program");
        assert!(why.contains("docker-credential-there-is-none cannot be run"), "{why}");
        assert_eq!(found(r#"{"credHelpers": {"a": "there-is-none"}}"#, "b").await, Ok(None));
        assert!(!format!("{:?}", password("ann", "hunter2")).contains("hunter2"));
    }
}
