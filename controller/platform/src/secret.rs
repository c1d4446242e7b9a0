//! Secrets: read from files, and asked for of strangers, compared in constant time.

use std::path::Path;

use ring::hmac;

/// The largest secret in bytes.
const MAX_SECRET: usize = 16 << 10;

/// A secret. Neither printed nor kept as it is.
pub struct Secret {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl Secret {
    /// The secret that is asked for.
    pub fn new(secret: &[u8]) -> Self {
        // Any key will do: only that both sides are hashed alike counts, and that the comparison says nothing by its time.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"composed");
        let tag = hmac::sign(&key, secret);
        Self { key, tag }
    }

    /// Whether this is the secret.
    pub fn is(&self, given: &[u8]) -> bool {
        hmac::verify(&self.key, given, self.tag.as_ref()).is_ok()
    }
}

/// The secret in a file: its only line.
///
/// # Errors
/// What is wrong with the file, in words; never what is in it.
pub fn read_secret(file: &Path) -> Result<String, String> {
    let shown = file.display();
    let text = std::fs::read(file).map_err(|error| format!("the secret in {shown} cannot be read: {error}"))?;
    let text = String::from_utf8(text).map_err(|_| format!("the secret in {shown} is not text"))?;
    let secret = text.trim();
    if secret.is_empty() || secret.len() > MAX_SECRET || secret.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(format!("{shown} is to hold one line, the secret, without blanks"));
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn only_the_whole_secret_is_it() {
        let secret = Secret::new(b"sesame");
        assert!(secret.is(b"sesame"));
        for wrong in [&b""[..], b"sesam", b"sesame\n", b"Sesame", b"sesamesesame"] {
            assert!(!secret.is(wrong), "{wrong:?}");
        }
    }
}
