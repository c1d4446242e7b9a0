//! The name of an image, taken apart as Docker does. Source: distribution/reference `normalize.go`.

use crd_schema::{ImageDigest, ImageRef, is_image_tag, split_registry};
use std::fmt;

/// The registry of names that say none, as it is asked and as Docker's own files call it.
const DEFAULT: &str = "docker.io";
const DEFAULT_HOST: &str = "registry-1.docker.io";
const DEFAULT_KEY: &str = "index.docker.io";
/// What stands before names of one word there.
const LIBRARY: &str = "library/";
/// Source: distribution/reference `NameTotalLengthMax`.
const MAX_NAME: usize = 255;

/// An image in a registry, by tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The registry as it is named: `docker.io`, `localhost:5000`.
    pub domain: String,
    /// The repository in it: `library/nginx`.
    pub repository: String,
    /// The tag.
    pub tag: String,
}

impl Reference {
    /// Reads a name such as `shop/web:1`. One that is pinned by a digest has nothing that could change: `None`, as for what
    /// is no name.
    pub fn parse(image: &ImageRef) -> Option<Self> {
        let name = image.as_str();
        let (domain, rest) = split_registry(name);
        let domain = domain.unwrap_or(DEFAULT);
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (rest, "latest"),
        };
        let domain = if domain == DEFAULT_KEY { DEFAULT } else { domain };
        let library = if domain == DEFAULT && !repository.contains('/') { LIBRARY } else { "" };
        let reference =
            Self { domain: domain.to_owned(), repository: format!("{library}{repository}"), tag: tag.to_owned() };
        reference.is_plain().then_some(reference)
    }

    /// The same repository under another tag.
    #[must_use]
    pub fn tagged(&self, tag: &str) -> Self {
        Self { tag: tag.to_owned(), ..self.clone() }
    }

    // It becomes part of a path.
    fn is_plain(&self) -> bool {
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        let part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(known);
        let domain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        is_image_tag(&self.tag)
            && self.repository.len() <= MAX_NAME
            && self.repository.split('/').all(part)
            && self.domain.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
            && self.domain.chars().all(domain)
    }

    /// `host` or `host:port` of the registry.
    pub fn host(&self) -> &str {
        if self.domain == DEFAULT { DEFAULT_HOST } else { &self.domain }
    }

    /// The name under which Docker's own files keep credentials for it.
    pub fn key(&self) -> &str {
        if self.domain == DEFAULT { DEFAULT_KEY } else { &self.domain }
    }

    /// The repository as Docker shows it: `nginx`, `shop/web`, `localhost:5000/web`.
    pub fn familiar(&self) -> String {
        if self.domain != DEFAULT {
            return format!("{}/{}", self.domain, self.repository);
        }
        self.repository.strip_prefix(LIBRARY).unwrap_or(&self.repository).to_owned()
    }

    /// The digests of this repository among an image's own (`shop/web@sha256:...`).
    pub fn digests(&self, of_image: &[String]) -> impl Iterator<Item = ImageDigest> {
        let (own, whole) = (self.familiar(), format!("{}/{}", self.domain, self.repository));
        of_image.iter().filter_map(move |text| {
            let (name, digest) = text.split_once('@')?;
            (name == own || name == whole).then(|| ImageDigest::new(digest))
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.familiar(), self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_as_docker_does() {
        for (name, host, repository, tag, shown) in [
            ("nginx", DEFAULT_HOST, "library/nginx", "latest", "nginx:latest"),
            ("shop/web:1.4", DEFAULT_HOST, "shop/web", "1.4", "shop/web:1.4"),
            ("docker.io/nginx:1", DEFAULT_HOST, "library/nginx", "1", "nginx:1"),
            ("localhost/web", "localhost", "web", "latest", "localhost/web:latest"),
            ("localhost:5000/a/b:x_Y-1", "localhost:5000", "a/b", "x_Y-1", "localhost:5000/a/b:x_Y-1"),
            ("[::1]:5000/web:1", "[::1]:5000", "web", "1", "[::1]:5000/web:1"),
        ] {
            let reference = Reference::parse(&ImageRef::new(name)).expect(name);
            assert_eq!(reference.host(), host, "{name}");
            assert_eq!((reference.repository.as_str(), reference.tag.as_str()), (repository, tag), "{name}");
            assert_eq!(reference.to_string(), shown, "{name}");
            assert_eq!(Reference::parse(&ImageRef::new(shown)), Some(reference), "{name}");
        }
    }

    #[test]
    fn what_has_no_tag_to_follow_or_is_no_name_is_none() {
        let pinned = format!("shop/web@sha256:{}", "0".repeat(64));
        for name in
            ["", "a//b", "../x", "a/../b", "a b", "shop/web:", "shop/web:-1", "a:5000/../x", "x/y?z", &pinned, "UPPER"]
        {
            assert_eq!(Reference::parse(&ImageRef::new(name)), None, "{name}");
        }
    }

    #[test]
    fn the_digests_of_other_repositories_are_not_its_own() {
        let all = ["nginx@sha256:1", "localhost:5000/nginx@sha256:2", "docker.io/library/nginx@sha256:3"];
        let all = all.map(str::to_owned);
        let digests =
            |name: &str| Reference::parse(&ImageRef::new(name)).expect(name).digests(&all).collect::<Vec<_>>();
        assert_eq!(digests("nginx:1"), ["sha256:1", "sha256:3"]);
        assert_eq!(digests("localhost:5000/nginx"), ["sha256:2"]);
        assert!(digests("other").is_empty());
    }
}
