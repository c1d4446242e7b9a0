//! Names that are texts, a type for each kind: a revision cannot be passed where an image is expected. In JSON each is its
//! text. None is made of another kind without saying so: `Revision::new(image.as_str())`.

use std::borrow::{Borrow, Cow};
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The name that this text is.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// Its text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether it is the empty text, which stands for none.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, text: &str) -> bool {
                self.0 == text
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, text: &&str) -> bool {
                self.0 == *text
            }
        }
    )*};
}

names! {
    /// A revision of a service: what reaches its containers, the rollout of it where it has a number, and its image where
    /// that is followed.
    Revision;
    /// Names a specification with all of its keys.
    SpecDigest;
    /// A container, by the engine's full id.
    ContainerId;
    /// An image on this host, by the engine's id.
    ImageId;
    /// An image as people write it: `nginx`, `registry:5000/shop/web:1`, `shop/web@sha256:...`. The engine takes an id in its
    /// place.
    ImageRef;
    /// The digest of an image's manifest, by which its registry knows it.
    ImageDigest;
    /// A network, by the engine's name of it; a project's own key for it is another thing.
    NetworkName;
    /// A network, by the engine's id.
    NetworkId;
    /// A volume, by the engine's name of it.
    VolumeName;
}

impl From<&ImageId> for ImageRef {
    fn from(id: &ImageId) -> Self {
        Self(id.0.clone())
    }
}

impl JsonSchema for ImageRef {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{from_value, json, to_value};

    use super::*;

    #[test]
    fn a_name_is_its_text_in_json_and_for_people() {
        let web = Revision::new("5f0c");
        assert_eq!(format!("{web} {web:?} {web:>6}"), "5f0c \"5f0c\"   5f0c");
        let by_id = BTreeMap::from([(ContainerId::new("c1"), web)]);
        assert_eq!(to_value(&by_id).expect("JSON"), json!({"c1": "5f0c"}));
        assert_eq!(from_value::<BTreeMap<ContainerId, Revision>>(json!({"c1": "5f0c"})).expect("names"), by_id);
        assert_eq!(by_id.get("c1").map(Revision::as_str), Some("5f0c"));
        assert!(from_value::<Revision>(json!(1)).is_err());
    }
}
