//! What registries answer, as far as anything is made of it.

use serde::Deserialize;

/// A token, as its server gives it. Source: distribution `token.md`.
#[derive(Deserialize)]
pub(super) struct TokenResponse {
    pub(super) token: Option<String>,
    pub(super) access_token: Option<String>,
    pub(super) expires_in: Option<u64>,
}

/// An index of images, or one. Source: opencontainers/image-spec `image-index.md`, `manifest.md`.
#[derive(Deserialize)]
pub(super) struct Manifest {
    #[serde(default)]
    pub(super) manifests: Vec<Entry>,
    pub(super) config: Option<Blob>,
}

/// One image of an index.
#[derive(Deserialize)]
pub(super) struct Entry {
    pub(super) platform: Option<Platform>,
}

/// What an image refers to.
#[derive(Deserialize)]
pub(super) struct Blob {
    pub(super) digest: String,
}

/// What one image is for.
#[derive(Deserialize)]
pub(super) struct Platform {
    pub(super) os: String,
    pub(super) architecture: String,
    pub(super) variant: Option<String>,
}

impl Platform {
    /// What it goes by: with its variant, and without.
    pub(super) fn names(self) -> impl Iterator<Item = String> {
        let name = format!("{}/{}", self.os, self.architecture);
        let whole = self.variant.map(|variant| format!("{name}/{variant}"));
        [Some(name), whole].into_iter().flatten()
    }
}

/// A page of tags.
#[derive(Deserialize)]
pub(super) struct Tags {
    pub(super) tags: Option<Vec<String>>,
}

/// Whether it can be a digest: `sha256:` and hexadecimal digits, or another of its kind.
pub(super) fn is_digest(text: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '_' | '-' | ':');
    text.starts_with("sha") && text.contains(':') && text.len() <= 200 && text.chars().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_short_and_part_of_no_other_path() {
        let long = format!("sha256:{}", "a".repeat(300));
        assert!(is_digest("sha256:abc") && is_digest("sha512:0F"));
        for text in ["", "sha256", "md5:abc", "sha256:../x", "sha256:a?b", "sha256:a b", "sha256:a\n", &long] {
            assert!(!is_digest(text), "{text}");
        }
    }
}
