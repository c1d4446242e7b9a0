//! `include`: other Compose files, each with its own directory and variables, become part of this one. Source:
//! compose-spec 14-include; compose-go `loader/include.go`.

use super::merge::{merge, settle};
use super::model::{Loader, Model};
use super::path::{join, parent};
use super::tree::{get_mut, items, put, take, texts};
use crate::advice;
use crate::yaml::{Kind, Node, Place, Problem};

/// How deep files may include one another.
const MAX_DEPTH: usize = 20;

const SECTIONS: &[&str] = &["services", "networks", "volumes", "configs", "secrets", "models"];
const KEYS: &[&str] = &["path", "project_directory", "env_file"];

impl Loader<'_> {
    /// Puts what `document` includes below what it says itself.
    pub(super) fn include(&mut self, document: &mut Node, model: &Model) -> Result<(), Vec<Problem>> {
        let Some((key, include)) = take(document, "include") else { return Ok(()) };
        if !matches!(include.kind, Kind::List(_)) && !include.is_nothing() {
            let help = "write `include: [path/compose.yaml]`";
            return Err(vec![Problem::new(key.place, "`include` is not a list".to_owned(), Some(help.into()))]);
        }
        for entry in items(&include) {
            let included = self.included(entry, model)?;
            for section in SECTIONS {
                let Some((name, resources)) = included.get(section) else { continue };
                if get_mut(document, section).is_none_or(|own| own.is_nothing()) {
                    take(document, section);
                    put(document, name.clone(), resources.clone());
                    continue;
                }
                let Some((name, own)) = take(document, section) else { continue };
                let both = merge(resources.clone(), own, &[section]).map_err(|problem| vec![problem])?;
                put(document, name, both);
            }
        }
        Ok(())
    }

    /// The model of one entry of `include`.
    fn included(&mut self, entry: &Node, model: &Model) -> Result<Node, Vec<Problem>> {
        let one = |place: Place, message: &str, help: String| {
            Err(vec![Problem::new(place, message.to_owned(), Some(help.into()))])
        };
        for (key, _) in super::tree::entries(entry) {
            let name = key.text().unwrap_or_default();
            if !KEYS.contains(&name) && !name.starts_with("x-") {
                let help = match advice::nearest(name, KEYS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "known here: `path`, `project_directory` or `env_file`".to_owned(),
                };
                return one(key.place, &format!("unknown key `{name}` in include"), help);
            }
        }
        let path = if entry.text().is_some() { Some(entry) } else { entry.get("path").map(|(_, path)| path) };
        let files: Vec<(String, Place)> = path
            .map(|path| texts(path).into_iter().map(|(text, place)| (join(&model.directory, text), place)).collect())
            .unwrap_or_default();
        let Some((main, place)) = files.first().cloned() else {
            let help = "write a path, or `path: PATH`".to_owned();
            return one(entry.first(), "an entry of `include` names no file", help);
        };
        if self.including.contains(&main) {
            let names: Vec<_> = self.including.iter().chain([&main]).map(|file| self.sources.shown(file)).collect();
            let message = format!("files include each other in a circle: {}", names.join(" includes "));
            return one(place, &message, "remove one of them".to_owned());
        }
        if self.including.len() >= MAX_DEPTH {
            let message = format!("files include one another more than {MAX_DEPTH} deep");
            return one(place, &message, "include the inner ones directly".to_owned());
        }
        let directory = match entry.get("project_directory").and_then(|(_, directory)| directory.text()) {
            Some(directory) => join(&model.directory, directory),
            None => parent(&main),
        };
        let env_files = entry.get("env_file").map(|(_, files)| files);
        let env_files: Vec<(String, Place)> = match env_files {
            Some(files) => {
                let named = texts(files).into_iter().filter(|(text, _)| *text != "/dev/null");
                named.map(|(text, place)| (join(&model.directory, text), place)).collect()
            }
            None => Vec::new(),
        };
        let variables = if env_files.is_empty() && entry.get("env_file").is_none() {
            self.default_variables(&directory, place, &model.variables)?
        } else {
            self.variables(&env_files, &model.variables)?
        };
        let mut inner = Model::new(directory, variables);
        let documents = self.documents(&files)?;
        self.including.push(main);
        let mut tree = self.tree(documents, &mut inner)?;
        self.including.pop();
        settle(&mut tree);
        Ok(tree)
    }
}
