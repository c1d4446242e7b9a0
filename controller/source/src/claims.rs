//! What valid files say: which documents they hold, our own or those that a Compose project comes to.

use std::collections::BTreeMap;
use std::sync::Arc;

use composed_core::model::ServiceName;
use crd_schema::{Project, Service};

use super::entry::Object;

/// A document that a valid file holds.
pub(super) struct Claim<T> {
    /// The file that is watched for it: of a Compose project the main one.
    pub(super) file: String,
    /// Where it is described, `file:line`.
    pub(super) place: String,
    pub(super) document: T,
}

/// What valid files say.
pub(super) type Claims<N, T> = BTreeMap<N, Vec<Claim<T>>>;

/// The claims to services, and those to projects.
#[derive(Default)]
pub(super) struct AllClaims {
    pub(super) services: Claims<ServiceName, Arc<Service>>,
    pub(super) projects: Claims<String, Arc<Project>>,
}

impl AllClaims {
    pub(super) fn add(&mut self, file: &str, place: String, object: Object) {
        let file = file.to_owned();
        match object {
            Object::Service(document) => {
                let name = ServiceName::new(&document.metadata.project, &document.metadata.name);
                self.services.entry(name).or_default().push(Claim { file, place, document });
            }
            Object::Project(document) => {
                let name = document.metadata.name.clone();
                self.projects.entry(name).or_default().push(Claim { file, place, document });
            }
        }
    }
}
