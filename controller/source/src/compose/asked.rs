//! What is asked of Compose projects.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crd_schema::compose::Request;

/// Compose files below the directory of another one, with that other one.
pub(crate) type Nested = BTreeMap<String, String>;

/// What the command line says about Compose projects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComposeOptions {
    /// `-f`: the files of one project, each merged over those before it.
    pub files: Vec<PathBuf>,
    /// `-p`: the project's name.
    pub name: Option<String>,
    /// `--profile`: active profiles.
    pub profiles: Vec<String>,
    /// `--env-file`: files of variables in place of `.env`.
    pub env_files: Vec<PathBuf>,
    /// `--env`: variables that win over those of files.
    pub variables: BTreeMap<String, String>,
    /// `--allow`: directories outside the project's that its files may be in.
    pub allowed: Vec<PathBuf>,
    /// `--remove-orphans`: containers of the project that its file never asked for go, too.
    pub remove_orphans: bool,
    /// The home directory of whoever asks: `~` and `$HOME`. None: nobody in particular does.
    pub home: Option<String>,
}

/// The projects of a reading by their main files, and what else is to be known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projects {
    /// What each is asked with.
    pub requests: BTreeMap<String, Request>,
    /// The path is that of one project: other projects are none of its business.
    pub alone: bool,
    /// Containers of that project that its file never asked for go, too.
    pub orphans_go: bool,
    /// Compose files below the directory of another one that does not include them, with that other one.
    pub nested: Nested,
}

impl Projects {
    /// Whether a file stands in the directory of a project or below: then it is one of its own files more likely than
    /// one of our documents.
    pub(crate) fn have(&self, file: &str) -> bool {
        let below = |main: &String| {
            main.rsplit_once('/')
                .is_none_or(|(dir, _)| file.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/')))
        };
        self.requests.keys().any(below)
    }
}
