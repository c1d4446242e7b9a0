//! What the catalog holds of one file and of one service.

use std::path::PathBuf;
use std::sync::Arc;

use composed_core::model::{DesiredService, ServiceName};
use crd_schema::{Project, Service};

use super::host::HostName;
use super::resolve::ResolutionInputs;
use super::text::Text;

/// A valid file of documents of our own.
#[derive(Debug)]
pub(super) struct ParsedFile {
    pub(super) text: Text,
    pub(super) documents: Vec<Document>,
}

/// A document of such a file, shared by all who hold it.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) object: Object,
    pub(super) line: usize,
    pub(super) values: usize,
}

/// What a document is.
#[derive(Clone, Debug)]
pub(super) enum Object {
    Service(Arc<Service>),
    Project(Arc<Project>),
}

impl From<crd_schema::Object> for Object {
    fn from(object: crd_schema::Object) -> Self {
        match object {
            crd_schema::Object::Service(service) => Self::Service(Arc::new(service)),
            crd_schema::Object::Project(project) => Self::Project(Arc::new(project)),
        }
    }
}

/// What a catalog is of that has nothing odd about it: each file was valid, and every document is in force.
#[derive(Clone, Debug)]
pub(super) struct Plain {
    /// The directory of the documents, and the same as the engine's host sees it.
    pub(super) roots: (PathBuf, Option<PathBuf>),
    pub(super) host: HostName,
    /// The only service that may be changed, if there is such.
    pub(super) only: Option<ServiceName>,
    /// So many values there may still be.
    pub(super) left: usize,
}

/// What is wanted of one service.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) desired: Result<Arc<DesiredService>, String>,
    pub(super) file: String,
    pub(super) made: Arc<ResolutionInputs>,
    /// What its document came to by itself, for the next reading.
    pub(super) resolved: Option<Arc<Resolved>>,
}

/// What a document came to, and of what: it comes to the same as long as these are the same.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) parsed: Arc<ParsedFile>,
    pub(super) place: String,
    pub(super) project: Option<Arc<Project>>,
    /// The directory of the documents, and the same as the engine's host sees it.
    pub(super) roots: (PathBuf, Option<PathBuf>),
    pub(super) desired: Arc<DesiredService>,
    pub(super) made: Arc<ResolutionInputs>,
}

impl Resolved {
    /// Whether it is made of these.
    pub(super) fn is_of(
        &self,
        parsed: &Arc<ParsedFile>,
        place: &str,
        project: Option<&Arc<Project>>,
        roots: (&PathBuf, Option<&PathBuf>),
    ) -> bool {
        let same = match (&self.project, project) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
            (one, other) => one.is_none() && other.is_none(),
        };
        same && Arc::ptr_eq(&self.parsed, parsed)
            && self.place == place
            && (&self.roots.0, self.roots.1.as_ref()) == roots
    }
}
