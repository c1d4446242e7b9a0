//! Many hosts, one set of documents: which services are for this one (`metadata.hosts`).

/// What this host is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostName {
    /// Whatever a document wants: every service is for it.
    #[default]
    Any,
    /// This.
    Is(String),
    /// Nobody has said: this process is in a container.
    Unknown,
}
