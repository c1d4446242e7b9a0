//! Each request on its way out: the API version that bollard 0.21 leaves out of the path, and the two keys of a body
//! that its types cannot carry but engines before API 1.44 need. Touches requests only.

use bollard::{BollardRequest, body_full};
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Either};
use hyper::{Request, Uri};
use serde_json::Value;

/// From this API version on, `create` takes several networks with a hardware address each, and a network's name is
/// unique without asking. Source: moby API version history, v1.44.
pub(super) const SEVERAL_ENDPOINTS: usize = 44;

/// Makes a request one of API `1.minor`.
///
/// bollard 0.21.1 joins an absolute path and so drops its own prefix (fixed in 0.22: the pin `=0.21.1` matters, else it
/// would double). Without it every engine answers in its newest version, whose fields may differ.
pub(super) fn of_version(request: BollardRequest, minor: usize) -> BollardRequest {
    let (mut parts, body) = request.into_parts();
    let body = match (amendment(parts.uri.path(), minor), body) {
        (Some(amend), Either::Left(whole)) => {
            // A whole body is there at once: nothing is waited for.
            let bytes = whole.clone().collect().now_or_never().and_then(Result::ok);
            let json = bytes.and_then(|bytes| serde_json::from_slice(&bytes.to_bytes()).ok());
            match json.map(amend) {
                Some(json) => body_full(json.to_string().into()),
                None => Either::Left(whole),
            }
        }
        (_, body) => body,
    };
    let tail = parts.uri.path_and_query().map_or("/", |tail| tail.as_str());
    let versioned = format!("/v1.{minor}{tail}").parse().ok();
    let mut uri = parts.uri.clone().into_parts();
    uri.path_and_query = versioned.or(uri.path_and_query);
    if let Ok(uri) = Uri::from_parts(uri) {
        parts.uri = uri;
    }
    Request::from_parts(parts, body)
}

/// Makes a request one for `target`, a path with its query; what cannot be a target leaves it as it is.
pub(super) fn to_target(request: BollardRequest, target: &str) -> BollardRequest {
    let (mut parts, body) = request.into_parts();
    let mut uri = parts.uri.clone().into_parts();
    uri.path_and_query = target.parse().ok().or(uri.path_and_query);
    if let Ok(uri) = Uri::from_parts(uri) {
        parts.uri = uri;
    }
    Request::from_parts(parts, body)
}

fn amendment(path: &str, minor: usize) -> Option<fn(Value) -> Value> {
    match path {
        _ if minor >= SEVERAL_ENDPOINTS => None,
        "/networks/create" => Some(check_duplicate),
        "/containers/create" => Some(lift_mac_address),
        _ => None,
    }
}

/// Without it an old engine makes a second network of the same name.
fn check_duplicate(body: Value) -> Value {
    with(body, "CheckDuplicate", Value::Bool(true))
}

/// Old engines take the hardware address at the top, for the network that the container is created with.
fn lift_mac_address(body: Value) -> Value {
    let endpoints = body.pointer("/NetworkingConfig/EndpointsConfig").and_then(Value::as_object);
    let address = endpoints.and_then(|all| all.values().find_map(|one| one.get("MacAddress")).cloned());
    match address {
        Some(address) => with(body, "MacAddress", address),
        None => body,
    }
}

fn with(mut body: Value, key: &str, value: Value) -> Value {
    if let Some(object) = body.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
    body
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_version_goes_before_the_path_and_the_query_stays() {
        let request = |uri: &str| Request::builder().uri(uri).body(body_full("{}".into())).expect("a request");
        let sent = of_version(request("http://host:1/containers/json?all=true"), 41);
        assert_eq!(sent.uri().to_string(), "http://host:1/v1.41/containers/json?all=true");
    }

    #[test]
    fn old_engines_get_the_keys_that_bollard_lost() {
        let body =
            serde_json::json!({"NetworkingConfig": {"EndpointsConfig": {"a": {"MacAddress": "02:00:00:00:00:01"}}}});
        let amended = amendment("/containers/create", 41).expect("an amendment")(body);
        assert_eq!(amended["MacAddress"], "02:00:00:00:00:01");
        let amended = amendment("/networks/create", 43).expect("an amendment")(serde_json::json!({}));
        assert_eq!(amended["CheckDuplicate"], true);
        assert!(amendment("/networks/create", 44).is_none());
        assert!(amendment("/volumes/create", 41).is_none());
    }
}
