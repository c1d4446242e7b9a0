//! Secrets that strangers are asked for, compared in constant time.

use ring::hmac;

/// A secret. Neither printed nor kept as it is.
pub(crate) struct Secret {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl Secret {
    /// The secret that is asked for.
    pub(crate) fn new(secret: &[u8]) -> Self {
        // Any key will do: only that both sides are hashed alike counts, and that the comparison says nothing by its time.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"composed");
        let tag = hmac::sign(&key, secret);
        Self { key, tag }
    }

    /// Whether this is the secret.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        hmac::verify(&self.key, given, self.tag.as_ref()).is_ok()
    }
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
