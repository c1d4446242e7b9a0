//! Other hands: what somebody else did to the replicas of a service.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Something that another hand did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalChange {
    /// When it was first noticed.
    pub at: Timestamp,
    /// When it was last seen to go on.
    pub last: Timestamp,
    /// What, for people.
    pub what: String,
}
