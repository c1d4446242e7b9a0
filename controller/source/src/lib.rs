//! DESIRED STATE COMES IN: files, or commits of repositories, are read, judged, resolved and kept as the catalog of what
//! is wanted.

mod budget;
pub mod catalog;
mod claims;
pub mod compose;
mod disk;
mod entry;
pub mod env_file;
pub mod files;
mod fronts;
pub mod git;
mod guard;
mod hangs;
pub mod host;
mod judge;
mod known;
pub mod made_of;
mod named;
pub mod origin;
mod path;
mod projects;
pub mod reading;
mod resolve;
pub mod settle;
pub mod text;
pub mod watch;
