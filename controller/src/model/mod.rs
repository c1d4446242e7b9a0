//! NOUNS. What the controller thinks in: keys, desired and observed state, replicas, and what is remembered of a
//! service. Pure: no I/O, no clock, no decisions.

mod adopt;
mod contention;
mod desired;
mod key;
mod memory;
mod observed;
mod replica;

pub use contention::Deed;
pub use desired::{Desired, DesiredProject, DesiredService};
pub use key::{Key, ServiceName};
pub use memory::{Failure, HISTORY, Memory, Outcome, PostStart, RevisionRecord, Sighting, Trouble};
pub use observed::{ImageState, Observed, Snapshot};
pub use replica::{Comparison, Health, HookEnd, InFlight, Pending, Probe, Replica, Rotation, State};
