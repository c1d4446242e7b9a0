//! The words of registries in the heads of their answers: what opens them, where the next page is, how long to wait.
//! Whatever they hold, reading them takes time and room in proportion to their length.

use std::time::Duration;

/// The longest that a registry may make us wait.
pub(super) const LONGEST_WAIT: Duration = Duration::from_hours(24);
/// No address or scope is longer.
const MAX_FIELD: usize = 4096;

/// Where a token is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) realm: String,
    pub(super) service: String,
    pub(super) scope: String,
}

/// `Retry-After`: seconds, or a date, which needs a clock that agrees with the server's; it is as good as said nothing.
pub(super) fn wait(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs).map(|wait| wait.min(LONGEST_WAIT))
}

/// What a `WWW-Authenticate` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AuthScheme {
    Password,
    Token(Challenge),
}

pub(super) fn challenge(text: &str) -> Option<AuthScheme> {
    let (scheme, fields) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(AuthScheme::Password);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut challenge = Challenge { realm: String::new(), service: String::new(), scope: String::new() };
    let mut rest = fields.trim_start();
    // Values may hold commas: `scope="repository:a:pull,push"`.
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "realm" => value.clone_into(&mut challenge.realm),
            "service" => value.clone_into(&mut challenge.service),
            "scope" => value.clone_into(&mut challenge.scope),
            _ => {}
        }
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    let longest = [&challenge.realm, &challenge.service, &challenge.scope].map(String::len).into_iter().max();
    (!challenge.realm.is_empty() && longest < Some(MAX_FIELD)).then_some(AuthScheme::Token(challenge))
}

/// The path in `</v2/a/tags/list?n=1&last=b>; rel="next"`.
pub(super) fn next_page(link: &str) -> Option<String> {
    let (target, rel) = link.split_once('>')?;
    let target = target.trim_start().strip_prefix('<')?;
    if !rel.contains("next") {
        return None;
    }
    // Some give the whole address; it is the same server's.
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..))?,
        None => target,
    };
    (path.starts_with("/v2/") && path.len() < MAX_FIELD).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let read =
            challenge(r#"Bearer realm="https://a.example/token",service="r, x",scope="repository:a/b:pull,push""#);
        let expected = Challenge {
            realm: "https://a.example/token".to_owned(),
            service: "r, x".to_owned(),
            scope: "repository:a/b:pull,push".to_owned(),
        };
        assert_eq!(read, Some(AuthScheme::Token(expected)));
        assert_eq!(challenge(r#"Basic realm="registry""#), Some(AuthScheme::Password));
        assert_eq!(challenge("Negotiate"), None);
        assert_eq!(challenge("Bearer service=x"), None);
        assert_eq!(challenge(r#"Bearer realm="unfinished"#), None);
        assert_eq!(challenge(&format!("Bearer realm=\"https://a.example/{}\"", "a".repeat(MAX_FIELD))), None);
    }

    #[test]
    fn pages_follow_each_other_on_one_server() {
        let next = |link: &str| next_page(link);
        assert_eq!(next(r#"</v2/a/tags/list?n=1&last=b>; rel="next""#), Some("/v2/a/tags/list?n=1&last=b".to_owned()));
        assert_eq!(
            next(r#"<https://r.example/v2/a/tags/list?last=b>; rel="next""#),
            Some("/v2/a/tags/list?last=b".to_owned())
        );
        assert_eq!(next(r#"</v2/a/tags/list>; rel="prev""#), None);
        assert_eq!(next("</etc/passwd>; rel=next"), None);
    }

    #[test]
    fn a_wait_has_a_limit() {
        assert_eq!(wait("120"), Some(Duration::from_mins(2)));
        assert_eq!(wait("99999999999"), Some(LONGEST_WAIT));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), None);
    }
}
