//! The nouns of a document, one file a group. Each type has one shape; the short forms end where it is read.

pub(crate) mod attach;
pub(crate) mod behind_front;
pub(crate) mod deploy;
pub(crate) mod devices;
pub(crate) mod environment;
pub(crate) mod file;
pub(crate) mod front;
pub(crate) mod health;
pub(crate) mod hooks;
pub(crate) mod mount;
pub(crate) mod object;
pub(crate) mod port;
pub(crate) mod project;
pub(crate) mod rollout;
pub(crate) mod runtime;
pub(crate) mod scalar;
pub(crate) mod service;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
pub(crate) mod update;

/// Whether a flag is off, for `skip_serializing_if`: a spec serialises only what differs from nothing said.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(crate) const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Whether a flag is on, for `skip_serializing_if` of flags that default to true.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(crate) const fn is_true(flag: &bool) -> bool {
    *flag
}

/// The default of flags that are on unless said otherwise.
pub(crate) const fn yes() -> bool {
    true
}
