//! What is wrong with an object, and at which of its keys.

/// What is wrong, and at which key.
pub(super) struct Finding {
    /// The keys from the root, such as `["spec", "ports"]`.
    pub(super) path: Vec<String>,
    pub(super) message: String,
    pub(super) help: String,
}

/// Collects findings.
#[derive(Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn add(&mut self, path: &[&str], message: impl Into<String>, help: impl Into<String>) {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        self.0.push(Finding { path, message: message.into(), help: help.into() });
    }
}
