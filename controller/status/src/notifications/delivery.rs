//! One notification on its way, and how that ends.

use std::time::Duration;

/// What is to be sent: one POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What is added to the path of the address.
    pub path: &'static str,
    /// Headers, in lowercase.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

/// Why it did not arrive. Says nothing of the address but its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Worth another try, after so long at least if it was said.
    Away(String, Option<Duration>),
    /// It was not taken, and will not be.
    Refused(String),
}
