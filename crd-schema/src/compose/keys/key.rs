//! One line of the table.

/// What composed makes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It means what it means to `docker compose`.
    Supported,
    /// It becomes a rule of the rollout.
    Rollout,
    /// `docker compose up` does nothing with it on one engine either: it is for another program, and left to that.
    Elsewhere,
    /// A file that has it is refused, by name and with the reason.
    Refused,
}

/// One key of the specification.
#[derive(Clone, Copy, Debug)]
pub struct ComposeKey {
    /// Where it stands, such as `service.deploy.replicas`; `*` is a name that people choose, and an item of a list has
    /// the path of the list.
    pub path: &'static str,
    /// What composed makes of it.
    pub class: Class,
    /// What is to be known about it; of a refused key, why and what to do.
    pub note: &'static str,
}

pub(super) const fn yes(path: &'static str) -> ComposeKey {
    ComposeKey { path, class: Class::Supported, note: "" }
}

pub(super) const fn note(path: &'static str, note: &'static str) -> ComposeKey {
    ComposeKey { path, class: Class::Supported, note }
}

pub(super) const fn rollout(path: &'static str, note: &'static str) -> ComposeKey {
    ComposeKey { path, class: Class::Rollout, note }
}

pub(super) const fn elsewhere(path: &'static str, note: &'static str) -> ComposeKey {
    ComposeKey { path, class: Class::Elsewhere, note }
}

pub(super) const fn no(path: &'static str, note: &'static str) -> ComposeKey {
    ComposeKey { path, class: Class::Refused, note }
}
