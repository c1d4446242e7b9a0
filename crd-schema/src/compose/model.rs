//! The tree of a project: its files read, filled in, extended, included and merged, in Compose's order. Source:
//! compose-go `loader/loader.go`.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::canonical::canonical;
use super::home;
use super::interpolate::{Interpolation, Variables};
use super::merge::{merge, settle};
use super::sources::Sources;
use super::unique::unique;
use crate::yaml::{Kind, Node, Place, Problem};

/// Reads models: that of the project, and those it includes.
pub(super) struct Loader<'f> {
    pub(super) sources: Sources<'f>,
    /// Variables that are not set and have no default, where they are first used.
    pub(super) unset: BTreeMap<String, Place>,
    /// Where a path of the host, or a name, would be another one for want of a variable: which one.
    pub(super) lost: BTreeMap<Place, String>,
    /// The services with `build`, and where that stands.
    pub(super) built: Vec<(String, Place)>,
    /// Where the project's own files of variables say what the project is.
    pub(super) set_at: BTreeMap<&'static str, Place>,
    /// The files that are being included, outermost first.
    pub(super) including: Vec<String>,
}

/// One model: several files, one over the other, with one directory and one environment.
pub(super) struct Model {
    /// Where its relative paths start, as seen from the project directory.
    pub(super) directory: String,
    pub(super) variables: Variables,
    /// The services of files that were read to extend from, by file.
    pub(super) bases: BTreeMap<String, Rc<Node>>,
    /// Services with everything that they extend, by file and name.
    pub(super) extended: BTreeMap<(String, String), Node>,
}

impl Model {
    pub(super) fn new(directory: String, variables: Variables) -> Self {
        Self { directory, variables, bases: BTreeMap::new(), extended: BTreeMap::new() }
    }
}

/// Each file of a model: its path and its documents.
pub(super) type Documents = Vec<(String, Vec<Node>)>;

impl Loader<'_> {
    /// Reads the files of a model, one over the other. `from` is where the file is named.
    pub(super) fn documents(&mut self, files: &[(String, Place)]) -> Result<Documents, Vec<Problem>> {
        let mut all = Documents::new();
        for (path, from) in files {
            let Some(documents) = self.sources.documents(path, *from)? else {
                let message = format!("there is no file {}", self.sources.shown(path));
                let help = "write the path of a Compose file, relative to the project directory";
                return Err(vec![Problem::new(*from, message, Some(help.into()))]);
            };
            all.push((path.clone(), documents));
        }
        Ok(all)
    }

    /// The tree of a model.
    pub(super) fn tree(&mut self, documents: Documents, model: &mut Model) -> Result<Node, Vec<Problem>> {
        let mut tree = Node::new(Kind::Map(Vec::new()), Place::START);
        for (path, documents) in documents {
            for mut document in documents {
                self.fill(&mut document, model)?;
                home::expand(&mut document, model.variables.get("HOME").map(String::as_str));
                let mut count = |values, place| self.sources.count(values, place);
                canonical(&mut document, &model.directory, &mut count).map_err(|problem| vec![problem])?;
                self.include(&mut document, model)?;
                model.extended.clear();
                self.extend(&mut document, &path, model)?;
                tree = merge(tree, document, &[]).map_err(|problem| vec![problem])?;
                settle(&mut tree);
                unique(&mut tree, &mut Vec::new());
            }
        }
        Ok(tree)
    }

    /// What is lost below a node for want of a variable.
    pub(super) fn lost_in(&self, node: &Node) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut open = if self.lost.is_empty() { Vec::new() } else { vec![node] };
        while let Some(node) = open.pop() {
            match &node.kind {
                Kind::Map(entries) => open.extend(entries.iter().rev().map(|(_, value)| value)),
                Kind::List(items) => open.extend(items.iter().rev()),
                Kind::Scalar { .. } => {}
            }
            if let Some(name) = self.lost.get(&node.place) {
                let message =
                    format!("the variable `{name}` is not set, and this would be another path or name without it");
                let help = format!(
                    "set it in `.env` beside the Compose file, in an --env-file, or with --env {name}=value; or write \
                     `${{{name}:-...}}` with what is meant without it"
                );
                problems.push(Problem::new(node.place, message, Some(help.into())));
            }
        }
        problems
    }

    /// Fills in a file's variables.
    pub(super) fn fill(&mut self, document: &mut Node, model: &Model) -> Result<(), Vec<Problem>> {
        if !matches!(document.kind, Kind::Map(_)) {
            let help = "start it with `services:`";
            let message = "a Compose file must be a map".to_owned();
            return Err(vec![Problem::new(document.place, message, Some(help.into()))]);
        }
        let mut interpolation = Interpolation {
            variables: &model.variables,
            room: &mut self.sources.room,
            templates: &mut self.sources.templates,
            filled: &mut self.sources.filled,
            unset: BTreeMap::new(),
            lost: BTreeMap::new(),
            problems: Vec::new(),
        };
        interpolation.fill(document, &mut Vec::new());
        let Interpolation { unset, lost, problems, .. } = interpolation;
        self.lost.extend(lost);
        for (name, place) in unset {
            self.unset.entry(name).or_insert(place);
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}
