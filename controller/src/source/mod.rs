//! DESIRED STATE COMES IN: files, or commits of repositories, are read, judged, resolved and kept as the catalog of what
//! is wanted; the queue says whose turn it is.

pub mod catalog;
mod claims;
pub mod compose;
pub mod env_file;
pub mod files;
mod fronts;
pub mod git;
mod guard;
pub mod host;
mod judge;
pub mod made_of;
pub mod origin;
mod projects;
pub mod queue;
mod resolve;
pub mod settle;
pub mod watch;
