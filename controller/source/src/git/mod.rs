//! DESIRED STATE FROM GIT: a commit is fetched into a copy of our own, read whole from it, checked, and taken in at once
//! or not at all.

mod access;
mod address;
mod command;
mod follow;
mod follower;
mod hint;
mod kept;
mod mirror;
mod objects;
mod read;
mod refs;
mod source;
mod sources;
mod tree;
mod verdict;
mod verify;
mod write_back;

pub use access::Access;
pub use address::{Address, Kind};
pub use refs::Follow;
pub use source::GitSource;
pub use sources::watch;
pub use verify::{Signed, Verify};
pub use write_back::WriteBack;
