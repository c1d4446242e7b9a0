//! What is followed in a repository: a branch, a tag, or the highest tag of a range of versions.

use std::fmt;

use semver::{Version, VersionReq};

/// What is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follow {
    /// The branch that was the repository's own (`HEAD`) when it was first asked: another checkout is no wish.
    Default,
    /// One ref, by its full name.
    Ref(String),
    /// The highest version among the tags `1.2.3` and `v1.2.3` in this range.
    Versions(VersionReq),
}

/// One line of what a repository offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// The ref's full name.
    pub(super) name: String,
    /// The object it names: of an annotated tag, the tag itself.
    pub(super) object: String,
}

impl Follow {
    /// Reads `BRANCH`, `refs/heads/...`, `refs/tags/...` or `semver:RANGE`; nothing is the repository's own branch.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(range) = text.strip_prefix("semver:") {
            let range = VersionReq::parse(range.trim()).map_err(|error| format!("{range} is no range: {error}"))?;
            return Ok(Self::Versions(range));
        }
        if text.is_empty() || text == "HEAD" {
            return Ok(Self::Default);
        }
        let name = if text.starts_with("refs/") { text.to_owned() } else { format!("refs/heads/{text}") };
        if !name.starts_with("refs/heads/") && !name.starts_with("refs/tags/") {
            return Err("it is to be a branch, refs/heads/..., refs/tags/... or semver:RANGE".to_owned());
        }
        if is_ref(&name) { Ok(Self::Ref(name)) } else { Err(format!("{text} cannot be the name of a branch or tag")) }
    }

    /// Whether only tags are followed.
    pub fn of_tags(&self) -> bool {
        match self {
            Self::Default => false,
            Self::Ref(name) => name.starts_with("refs/tags/"),
            Self::Versions(_) => true,
        }
    }

    /// The pattern to ask a repository for.
    pub(super) fn pattern(&self) -> &str {
        match self {
            Self::Default => "HEAD",
            Self::Ref(name) => name,
            Self::Versions(_) => "refs/tags/*",
        }
    }

    /// Which of the offered refs is meant.
    pub(super) fn choose(&self, offers: &[Offer]) -> Option<Offer> {
        let named = |name: &str| offers.iter().find(|offer| offer.name == name);
        let chosen = match self {
            Self::Default => None,
            Self::Ref(name) => named(name),
            Self::Versions(range) => {
                let versions = offers.iter().filter_map(|offer| Some((version(&offer.name)?, offer)));
                let matching = versions.filter(|(version, _)| range.matches(version));
                // `1.2.3` and `v1.2.3` are one version: the name decides, so that it is always the same.
                matching.max_by(|a, b| a.0.cmp(&b.0).then(a.1.name.cmp(&b.1.name))).map(|(_, offer)| offer)
            }
        };
        chosen.cloned()
    }
}

impl fmt::Display for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("its default branch"),
            Self::Ref(name) => match (name.strip_prefix("refs/heads/"), name.strip_prefix("refs/tags/")) {
                (Some(branch), _) => write!(f, "branch {branch}"),
                (None, Some(tag)) => write!(f, "tag {tag}"),
                (None, None) => f.write_str(name),
            },
            Self::Versions(range) => write!(f, "a tag in the range {range}"),
        }
    }
}

/// The version that a tag names, if it names one.
pub(super) fn version(name: &str) -> Option<Version> {
    let tag = name.strip_prefix("refs/tags/")?;
    Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()
}

/// The branch that `HEAD` is, in the output of `git ls-remote --symref`; none if it is no branch.
pub(super) fn head(text: &str) -> Option<String> {
    let name = text.lines().find_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"))?;
    (name.starts_with("refs/heads/") && is_ref(name)).then(|| name.to_owned())
}

/// Reads the output of `git ls-remote`.
pub(super) fn offers(text: &str) -> Vec<Offer> {
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    let refs = lines.filter(|(object, name)| is_object(object) && is_ref(name));
    refs.map(|(object, name)| Offer { name: name.to_owned(), object: object.to_owned() }).collect()
}

/// Whether it is the name of an object: SHA-1 or SHA-256 in hexadecimal digits.
pub(super) fn is_object(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// As git-check-ref-format has it.
fn is_ref(name: &str) -> bool {
    let forbidden = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\\"'".contains(c);
    !name.contains(forbidden)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && name.split('/').all(|part| {
            !part.is_empty() && !part.starts_with(['.', '-']) && !part.to_ascii_lowercase().ends_with(".lock")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(names: &[&str]) -> Vec<Offer> {
        let text: String = names.iter().map(|name| format!("{}\t{name}\n", "a".repeat(40))).collect();
        offers(&text)
    }

    #[test]
    fn names_are_branches_unless_they_say_otherwise() {
        for (text, full) in [("main", "refs/heads/main"), ("a/b", "refs/heads/a/b"), ("refs/tags/v1", "refs/tags/v1")] {
            assert_eq!(Follow::parse(text), Ok(Follow::Ref(full.to_owned())), "{text}");
        }
        assert_eq!(Follow::parse(""), Ok(Follow::Default));
        for text in
            ["-x", "a..b", "a b", "a~1", "x.lock", "refs/notes/x", "a//b", "a@{1}", "semver:banana", "refs/heads/"]
        {
            assert!(Follow::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_highest_version_of_the_range_is_chosen() {
        let tags = offered(&[
            "refs/tags/v1.9.0",
            "refs/tags/v1.10.1",
            "refs/tags/2.0.0",
            "refs/tags/v1.11.0-rc.1",
            "refs/tags/x",
        ]);
        let choose = |text: &str| Follow::parse(text).unwrap().choose(&tags).map(|offer| offer.name);
        assert_eq!(choose("semver:~1"), Some("refs/tags/v1.10.1".to_owned()));
        assert_eq!(choose("semver:*"), Some("refs/tags/2.0.0".to_owned()));
        assert_eq!(choose("semver:>=1.11.0-0, <2"), Some("refs/tags/v1.11.0-rc.1".to_owned()));
        assert_eq!(choose("semver:^3"), None);
    }

    #[test]
    fn what_a_remote_says_is_not_believed_blindly() {
        let text = format!(
            "{}\trefs/heads/ok\nxyz\trefs/heads/a\n{}\trefs/heads/--upload-pack\n",
            "b".repeat(40),
            "c".repeat(40)
        );
        assert_eq!(offers(&text).len(), 1);
        assert_eq!(head("ref: refs/heads/main\tHEAD\n"), Some("refs/heads/main".to_owned()));
        assert_eq!(head("ref: refs/heads/a..b\tHEAD\n"), None);
    }
}
