//! What is remembered of a repository over restarts: the last good commit, and for each service who asked for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use composed_core::model::ServiceName;
use composed_platform::files;
use crd_schema::SpecDigest;
use crd_schema::status::CommitStatus;
use serde::{Deserialize, Serialize};

use crate::catalog::Catalog;

/// The last good commit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct AcceptedCommit {
    /// The object that was followed: the commit, or its tag.
    pub(super) object: String,
    /// The ref that named it.
    pub(super) name: String,
    /// The commit.
    pub(super) commit: CommitStatus,
    /// The files of this host that held variables for it.
    #[serde(default)]
    pub(super) filled: BTreeSet<PathBuf>,
    /// By `project/service`.
    asked: BTreeMap<String, ServiceCommit>,
}

/// What is wanted of a service, and the commit that asked for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ServiceCommit {
    digest: SpecDigest,
    commit: CommitStatus,
}

impl AcceptedCommit {
    /// What was kept in a file; what cannot be read is as good as lost.
    pub(super) fn load(file: &Path) -> Option<Self> {
        files::load(Some(file), "what was the last good commit")
    }

    /// Replaces the file whole, so that it outlives a crash of the machine.
    pub(super) fn save(&self, file: &Path) -> std::io::Result<()> {
        files::replace(file, &serde_json::to_vec(self)?, true)
    }

    /// What follows when `commit`, named `name` by way of `object`, wants what is in `catalog`.
    pub(super) fn after(
        before: Option<&Self>,
        object: &str,
        name: &str,
        commit: &CommitStatus,
        catalog: &Catalog,
    ) -> Self {
        let asked = catalog.names().filter_map(|service| {
            let digest = catalog.service(service)?.digest.clone();
            let earlier = before.and_then(|before| before.asked.get(&service.to_string()));
            let earlier = earlier.filter(|asked| asked.digest == digest).map(|asked| asked.commit.clone());
            let commit = earlier.unwrap_or_else(|| commit.clone());
            Some((service.to_string(), ServiceCommit { digest, commit }))
        });
        Self {
            object: object.to_owned(),
            name: name.to_owned(),
            commit: commit.clone(),
            filled: BTreeSet::new(),
            asked: asked.collect(),
        }
    }

    /// For each service the commit that asked for what is wanted of it.
    pub(super) fn asked(&self) -> BTreeMap<ServiceName, CommitStatus> {
        let named = |(name, asked): (&String, &ServiceCommit)| {
            let (project, service) = name.split_once('/')?;
            Some((ServiceName::new(project, service), asked.commit.clone()))
        };
        self.asked.iter().filter_map(named).collect()
    }
}
