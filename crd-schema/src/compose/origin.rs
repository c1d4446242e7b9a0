//! Where the parts of an object are written, for those who write it anew.

use std::collections::BTreeMap;

use super::model::Loader;
use super::tree::{entries, items};
use crate::EnvFile;
use crate::yaml::{Kind, Node};

/// Where the parts of a specification are written. A part is a key (`image`), or an entry of one that is a map of names
/// (`environment.TZ`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// `file:line` of each part, the file as messages name it.
    pub places: BTreeMap<String, String>,
    /// The texts with variables that a part was made of, as they are written.
    pub templates: BTreeMap<String, Vec<String>>,
    /// The files of variables that `environment` begins with, relative to the project directory.
    pub env_files: Vec<EnvFile>,
}

impl Loader<'_> {
    /// Where the parts of a specification are written.
    pub(super) fn origin(&self, written: &Node, env_files: Vec<EnvFile>) -> Origin {
        let mut origin = Origin { env_files, ..Origin::default() };
        for (key, value) in entries(written) {
            let name = key.text().unwrap_or_default();
            self.part(name.to_owned(), key, value, &mut origin);
            for (key, value) in entries(value) {
                self.part(format!("{name}.{}", key.text().unwrap_or_default()), key, value, &mut origin);
            }
        }
        origin
    }

    fn part(&self, name: String, key: &Node, value: &Node, origin: &mut Origin) {
        let mut templates = Vec::new();
        self.templates(value, &mut templates);
        templates.dedup();
        if !templates.is_empty() {
            origin.templates.insert(name.clone(), templates);
        }
        let file = self.sources.file_of(key.place);
        origin.places.insert(name, format!("{file}:{}", key.place.line));
    }

    fn templates(&self, node: &Node, found: &mut Vec<String>) {
        if let Kind::Scalar { .. } = node.kind {
            found.extend(self.sources.filled.at(node.place).map(str::to_owned));
        }
        for (_, value) in entries(node) {
            self.templates(value, found);
        }
        for item in items(node) {
            self.templates(item, found);
        }
    }
}
