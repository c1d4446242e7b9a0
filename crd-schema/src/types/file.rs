//! Files that are put into a container.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A file that is put into each container before its first start. It is in the container's own layer: no label, mount or
/// file of the host has its text.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerFile {
    /// Its absolute path in the container.
    pub path: String,
    /// Its text.
    pub content: String,
    /// The number of its owner. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The number of its group. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Its permission bits in octal. Default `0o444`.
    #[serde(default, with = "crate::forms::octal", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub mode: Option<u32>,
}

/// The text may be a secret.
impl fmt::Debug for ContainerFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, content: _, uid, gid, mode } = self;
        let mut shown = f.debug_struct("ContainerFile");
        shown.field("path", path).field("content", &format_args!("***"));
        shown.field("uid", uid).field("gid", gid).field("mode", mode).finish()
    }
}
