//! What is known of new images.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ImageDigest, ImageId, ImageRef, Revision, UpdatePolicy};

/// What is known of new images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStatus {
    /// What counts as a new image; `none` where images were followed before.
    pub policy: UpdatePolicy,
    /// The image, by name: what is followed.
    pub image: ImageRef,
    /// The image that the document names, where a higher version of it is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised_from: Option<ImageRef>,
    /// The engine's id of the image that is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<ImageId>,
    /// The revision of the document alone, whatever its image is.
    pub document: Revision,
    /// The engine's id of the image behind the name, where that is not the one that is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newer: Option<ImageId>,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// When it will be, if time is all that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// The digest that the registry says the name stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<ImageDigest>,
    /// When it last said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Timestamp>,
    /// When it is asked next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check: Option<Timestamp>,
    /// Why nothing newer is known or here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// How far the pull of a newer one has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulling: Option<PullStatus>,
}

/// How far a pull has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullStatus {
    /// Layers that are here.
    pub layers_done: u32,
    /// Layers that are known of.
    pub layers: u32,
    /// Bytes that are here.
    pub bytes: u64,
    /// Bytes of the layers whose size is known.
    pub total: u64,
}
