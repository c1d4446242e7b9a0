//! What a client asks for: one of the few things that proxies read, or nothing that is answered here.

use std::collections::BTreeMap;

/// A request that is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ViewRequest {
    /// `/v1.41`, or nothing: the engine judges it.
    pub(super) prefix: String,
    /// What for.
    pub(super) what: ViewEndpoint,
    /// The query.
    pub(super) query: BTreeMap<String, String>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ViewEndpoint {
    /// Whether somebody is there.
    Ping,
    /// What the engine is.
    Version,
    /// How it is.
    Info,
    /// Containers.
    List,
    /// One container, by id or name.
    Inspect(String),
    /// What happens.
    Events,
    /// Networks.
    Networks,
    /// One network, by id or name.
    Network(String),
    /// Something of a swarm: `services`, `tasks`, ...
    Swarm,
}

/// For people: what is answered.
pub(super) const ANSWERED: &str = "GET /_ping, /version, /info, /events, /containers/json, /containers/NAME/json, \
                                   /networks and /networks/NAME";

impl ViewRequest {
    /// A path with its query; `None` for what is not answered.
    pub(super) fn parse(path: &str, query: &str) -> Option<Self> {
        let (prefix, rest) = split(path);
        let words: Vec<&str> = rest.trim_matches('/').split('/').collect();
        let what = match *words.as_slice() {
            ["_ping"] => ViewEndpoint::Ping,
            ["version"] => ViewEndpoint::Version,
            ["info"] => ViewEndpoint::Info,
            ["events"] => ViewEndpoint::Events,
            ["containers", "json"] => ViewEndpoint::List,
            ["containers", name, "json"] => ViewEndpoint::Inspect(plain(name)?),
            ["networks"] => ViewEndpoint::Networks,
            ["networks", name] => ViewEndpoint::Network(plain(name)?),
            ["services" | "tasks" | "nodes" | "configs" | "secrets" | "swarm"] => ViewEndpoint::Swarm,
            _ => return None,
        };
        let query = serde_urlencoded::from_str(query).unwrap_or_default();
        Some(Self { prefix: prefix.to_owned(), what, query })
    }
}

fn split(path: &str) -> (&str, &str) {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(after) = path.strip_prefix("/v") else { return ("", path) };
    let end = after.find('/').unwrap_or(after.len());
    let (version, rest) = after.split_at(end);
    match version.split_once('.') {
        Some((major, minor)) if number(major) && number(minor) => (path.get(..end + 2).unwrap_or_default(), rest),
        _ => ("", path),
    }
}

/// A name that is one word of a path, whatever is made of it later.
fn plain(name: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (!name.is_empty() && !name.starts_with('.') && name.bytes().all(fits)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(path: &str) -> Option<(String, ViewEndpoint)> {
        ViewRequest::parse(path, "").map(|ask| (ask.prefix, ask.what))
    }

    #[test]
    fn what_proxies_read_is_known_in_any_version() {
        assert_eq!(what("/_ping"), Some((String::new(), ViewEndpoint::Ping)));
        assert_eq!(what("/v1.24/containers/json"), Some(("/v1.24".to_owned(), ViewEndpoint::List)));
        assert_eq!(
            what("/v1.53/containers/ab-c_1.d/json"),
            Some(("/v1.53".to_owned(), ViewEndpoint::Inspect("ab-c_1.d".to_owned())))
        );
        assert_eq!(what("/networks/web"), Some((String::new(), ViewEndpoint::Network("web".to_owned()))));
        assert_eq!(what("/v1.41/tasks"), Some(("/v1.41".to_owned(), ViewEndpoint::Swarm)));
        assert_eq!(what("/version"), Some((String::new(), ViewEndpoint::Version)));
    }

    #[test]
    fn nothing_else_is() {
        for path in [
            "/",
            "",
            "/v1.41",
            "/containers/a/logs",
            "/containers/a/export",
            "/containers/a/archive",
            "/images/json",
            "/containers/../json",
            "/containers/a%2fb/json",
            "/volumes",
            "/containers/a/json/b",
            "/v1.41/v1.41/info",
            "/containers//json",
            "/secrets/a",
            "/build",
            "/session",
            "/networks/a/connect",
            "/vx/info",
            "//events/x",
        ] {
            assert_eq!(what(path), None, "{path}");
        }
    }
}
