//! YAML as composed reads it: a tree of nodes that know their place and their text, and serde's view of it.
//!
//! The only module that names the YAML parser. Reading through our own tree (not serde-saphyr's deserialiser) is what
//! keeps `1.10` as written, reports every problem of a document at its key, and lets nothing secret into a message.

mod de;
mod failure;
mod limits;
mod node;
mod reader;

pub(crate) use de::{MAYBE, from_node};
pub(crate) use failure::{Failure, Fault};
pub(crate) use limits::{documents, precheck, too_large};
pub use node::size_of_text;
pub(crate) use node::{Kind, MergeTag, Node, Place, Problem};
pub(crate) use reader::{read, read_compose};
