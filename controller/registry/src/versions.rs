//! Tags as versions. Pure.

use crd_schema::ImageRef;
use semver::{Version, VersionReq};

/// The highest version in a range among tags such as `1.2.3` and `v1.2.3`. Where both spellings are there, that of `like`.
pub fn highest(tags: &[String], range: &str, like: &str) -> Option<String> {
    let range = VersionReq::parse(range).ok()?;
    let spelt = |tag: &str| tag.starts_with('v') == like.starts_with('v');
    let versions = tags.iter().filter_map(|tag| Some((version(tag)?, tag)));
    let within = versions.filter(|(version, _)| range.matches(version));
    within.max_by_key(|(version, tag)| (version.clone(), spelt(tag))).map(|(_, tag)| tag.clone())
}

/// The image that a document's `image` comes to with the tag `highest`; `None` if that is no higher version than its own.
pub fn raised(image: &ImageRef, highest: &str) -> Option<ImageRef> {
    let (repository, tag) = match image.as_str().rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (image.as_str(), None),
    };
    let higher = match tag.and_then(version) {
        Some(own) => version(highest)? > own,
        None => tag != Some(highest),
    };
    higher.then(|| ImageRef::new(format!("{repository}:{highest}")))
}

fn version(tag: &str) -> Option<Version> {
    Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_in_the_range_is_chosen() {
        let tags = ["latest", "1.4", "1.4.2", "1.4.10", "v1.4.10", "1.4.11-rc.1", "1.5.0", "2.0.0", "sha-1234"]
            .map(str::to_owned);
        for (range, like, expected) in [
            ("~1.4", "1.4.2", Some("1.4.10")),
            ("~1.4", "v1.4.2", Some("v1.4.10")),
            ("^1", "1.4.2", Some("1.5.0")),
            (">=1.4, <1.4.10", "1.4.2", Some("1.4.2")),
            ("*", "1.4.2", Some("2.0.0")),
            ("~1.4.11-rc", "1.4.2", Some("1.4.11-rc.1")),
            ("^3", "1.4.2", None),
            ("banana", "1.4.2", None),
        ] {
            assert_eq!(highest(&tags, range, like).as_deref(), expected, "{range} {like}");
        }
    }

    #[test]
    fn a_document_is_raised_and_never_lowered() {
        let raised = |image: &str, highest: &str| raised(&ImageRef::new(image), highest);
        assert_eq!(raised("a:5000/web:1.4.2", "1.4.10"), Some(ImageRef::new("a:5000/web:1.4.10")));
        assert_eq!(raised("web:1.4.10", "1.4.2"), None);
        assert_eq!(raised("web:1.4.2", "1.4.2"), None);
        assert_eq!(raised("web:stable", "1.4.2"), Some(ImageRef::new("web:1.4.2")));
        assert_eq!(raised("a:5000/web", "1.4.2"), Some(ImageRef::new("a:5000/web:1.4.2")));
    }
}
