//! DESIRED STATE COMES IN: files are read, resolved and kept as the catalog of what is wanted; the queue says whose turn
//! it is.

pub mod catalog;
pub mod env_file;
pub mod files;
pub mod queue;
pub mod watch;
