//! The seal: proof in a label that this instance made a container or network. Labels can be copied from an image, a commit
//! or another container; a seal holds only for the image and the labels that it was made for. Pure.

use std::collections::BTreeMap;

use composed_core::hex;
use crd_schema::{ImageId, NetworkName};
use ring::hmac;

use super::labels::{self, Labels};

/// The label of the seal: version, nonce and HMAC-SHA256, as `1.NONCE.HEX`.
pub(super) const SEAL: &str = "dev.composed.seal";
const VERSION: &str = "1";

/// What carries a seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sealed<'a> {
    /// A container, made from the image of this id.
    Container {
        /// The image's id, with or without `sha256:`.
        image: &'a ImageId,
    },
    /// A network of this name.
    Network {
        /// Its name.
        name: &'a NetworkName,
    },
}

/// A key for seals, 32 bytes; shown as hexadecimal digits where it is kept, and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SealKey(String);

impl SealKey {
    /// A key of 64 hexadecimal digits; `None` for anything else.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        (text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| Self(text.to_owned()))
    }

    /// As it is kept.
    pub(super) fn as_hex(&self) -> &str {
        &self.0
    }

    /// The value of the seal's label for `what` with these labels.
    pub(super) fn seal<'a>(
        &self,
        what: Sealed<'_>,
        labels: impl IntoIterator<Item = (&'a String, &'a String)>,
        nonce: &str,
    ) -> String {
        let tag = hmac::sign(&self.key(), text(what, labels, nonce).as_bytes());
        format!("{VERSION}.{nonce}.{}", hex::encode(tag))
    }

    /// Whether a seal is of this key, for `what` with these labels.
    pub(super) fn proves(&self, seal: &str, what: Sealed<'_>, labels: &Labels) -> bool {
        let mut parts = seal.splitn(3, '.');
        let (Some(VERSION), Some(nonce), Some(tag)) = (parts.next(), parts.next(), parts.next()) else {
            return false;
        };
        let Some(tag) = hex::decode(tag.as_bytes()) else { return false };
        hmac::verify(&self.key(), text(what, labels, nonce).as_bytes(), &tag).is_ok()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes())
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(..)")
    }
}

/// What is signed: each part with its length before it, so that no two lists of parts read the same.
fn text<'a>(what: Sealed<'_>, labels: impl IntoIterator<Item = (&'a String, &'a String)>, nonce: &str) -> String {
    let sealed: BTreeMap<_, _> =
        labels.into_iter().filter(|(name, _)| name.as_str() != SEAL && labels::is_identity(name)).collect();
    let (kind, of) = match what {
        Sealed::Container { image } => ("container", image.as_str().trim_start_matches("sha256:")),
        Sealed::Network { name } => ("network", name.as_str()),
    };
    let pairs = sealed.into_iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    let mut text = String::new();
    for part in [kind, of, nonce].into_iter().chain(pairs) {
        text.push_str(&format!("{}:{part}", part.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn key(digit: &str) -> SealKey {
        SealKey::from_hex(&digit.repeat(64)).expect("a key")
    }

    #[test]
    fn a_seal_holds_for_its_image_and_labels_only() {
        let image = ImageId::new("sha256:aa");
        let image = Sealed::Container { image: &image };
        let own = made(&[(labels::INSTANCE, "i"), (labels::SERVICE, "shop/web"), ("traefik.enable", "true")]);
        let seal = key("0").seal(image, &own, "n");
        let mut whole = own.clone();
        whole.insert(SEAL.to_owned(), seal.clone());
        assert!(key("0").proves(&seal, image, &whole));
        assert!(
            key("0").proves(&seal, Sealed::Container { image: &ImageId::new("aa") }, &whole),
            "Podman leaves the prefix out"
        );
        // What the image adds is no label of ours.
        whole.insert("org.example.version".to_owned(), "1".to_owned());
        assert!(key("0").proves(&seal, image, &whole));

        assert!(!key("1").proves(&seal, image, &whole), "another key");
        assert!(
            !key("0").proves(&seal, Sealed::Container { image: &ImageId::new("sha256:ab") }, &whole),
            "a commit of it"
        );
        assert!(!key("0").proves(&seal, Sealed::Network { name: &NetworkName::new("aa") }, &whole), "another kind");
        for (name, value) in [
            (labels::SERVICE, "shop/db"),
            (labels::REVISION, "r"),
            (labels::HOOK, "pre-deploy"),
            (labels::NUMBER, "2"),
            ("dev.composed.companion", "id"),
        ] {
            let mut other = whole.clone();
            other.insert(name.to_owned(), value.to_owned());
            assert!(!key("0").proves(&seal, image, &other), "{name} is signed");
        }
    }

    #[test]
    fn what_is_no_seal_proves_nothing() {
        let image = ImageId::new("aa");
        let image = Sealed::Container { image: &image };
        for seal in ["", "1", "1.n", "1.n.", "1.n.zz", "1.n.0", "2.n.00", "1.n.é0", &format!("1.n.{}", "0".repeat(64))]
        {
            assert!(!key("0").proves(seal, image, &Labels::new()), "{seal}");
        }
        assert_eq!(SealKey::from_hex("0"), None);
        assert_eq!(SealKey::from_hex(&"g".repeat(64)), None);
    }

    #[test]
    fn parts_do_not_run_together() {
        let name = NetworkName::new("n");
        let what = Sealed::Network { name: &name };
        let one = made(&[(labels::REVISION, "ab"), (labels::SERVICE, "c")]);
        let other = made(&[(labels::REVISION, "a"), (labels::SERVICE, "bc")]);
        assert_ne!(text(what, &one, ""), text(what, &other, ""));
    }
}
