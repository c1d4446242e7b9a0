//! NOUNS. What the controller thinks in: keys, desired and observed state, replicas, and what is remembered of a
//! service. Pure: no I/O, no clock, no decisions.

mod adopt;
mod contention;
mod desired;
mod hook;
mod key;
mod mark;
mod memory;
mod neighbours;
mod notice;
mod observed;
mod replica;

pub use contention::Deed;
pub use desired::{Desired, DesiredProject, DesiredService, Names, follows, of_image};
pub use hook::{HookKind, HookRecord, HookRun, HookState};
pub use key::{Key, ServiceName};
pub use mark::{Mark, RolloutOptions, unmarked};
pub use memory::{Failure, Fetched, HISTORY, Memory, Outcome, PostStart, RevisionRecord, Sighting, TagSeen, Trouble};
pub use neighbours::{Guest, Host, Hosts, Neighbours};
pub use notice::{Notice, NoticeKind};
pub use observed::{Foreign, ImageFacts, ImageState, Listed, Listing, Observed, PullProgress, Remote, Snapshot};
pub use replica::{Comparison, Health, HookEnd, InFlight, Owner, Pending, Probe, Replica, Rotation, State};
