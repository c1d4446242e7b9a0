//! Verbs for people.

pub mod app;
pub mod rootfs;
