//! What is remembered of images.

use std::collections::BTreeSet;

use crd_schema::{ImageDigest, ImageId, ImageRef, Revision};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The images of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Images {
    /// The revision that an image was last pulled for, to the end.
    pub pulled_for: Option<Revision>,
    /// The image that its tag stood for at the last look.
    pub tag: Option<TagResolution>,
    /// The last image that was pulled because the registry had it.
    pub last_pull: Option<LastPull>,
    /// The images that were pulled for it and are not known to be gone, by id.
    pub pulled: BTreeSet<ImageId>,
}

/// What a tag stood for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagResolution {
    /// The tag, as the document names the image.
    pub name: ImageRef,
    /// The engine's id of the image.
    pub id: ImageId,
    /// When it was first seen to stand for that.
    pub since: Timestamp,
}

/// An image that was fetched because the registry had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastPull {
    /// The digest that the registry gave.
    pub digest: ImageDigest,
    /// When that was last begun.
    pub at: Timestamp,
    /// How often.
    pub count: u32,
}
