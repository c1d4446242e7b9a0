//! The environment of a service: its files of variables below what it says itself. Source: compose-go
//! `types/project.go`, `WithServicesEnvironmentResolved`.

use super::interpolate::Variables;
use super::model::Loader;
use super::tree::{items, put, take};
use crate::EnvFile;
use crate::yaml::{Kind, Node, Place, Problem};

/// A name, its value if it has one, and where it is written.
type Line = (String, Option<String>, Place);

impl Loader<'_> {
    /// Replaces `environment` and `env_file` of a service by one map of values. A name alone has the value that the
    /// project's variables give it; without one it is taken from what the image sets, too.
    /// Returns the files.
    pub(super) fn environment(
        &mut self,
        service: &mut Node,
        project: &Variables,
    ) -> Result<Vec<EnvFile>, Vec<Problem>> {
        let files = take(service, "env_file").map(|(_, files)| files);
        let own = match service.get("environment") {
            Some((_, own)) => match lines(own) {
                Some(own) => own,
                None => return Ok(Vec::new()), // refused where it is read
            },
            None if files.is_none() => return Ok(Vec::new()),
            None => Vec::new(),
        };
        for (name, _, place) in own.iter().filter(|(name, value, _)| value.is_none() && project.contains_key(name)) {
            self.sources.filled.note(*place, &format!("${{{name}}}"));
        }
        let own = own.into_iter().map(|(name, value, place)| {
            let value = value.or_else(|| project.get(&name).cloned());
            (name, value, place)
        });
        let own: Vec<Line> = own.collect();
        let mut variables: Variables =
            own.iter().filter_map(|(name, value, _)| Some((name.clone(), value.clone()?))).collect();
        let mut outer = variables.clone();
        outer.extend(project.clone());
        let mut merged: Vec<Line> = Vec::new();
        let mut named = Vec::new();
        for file in files.iter().flat_map(items) {
            let Some((path, required, raw)) = env_file(file)? else { continue };
            named.push(EnvFile { path: path.clone(), required, format: raw.then(|| "raw".to_owned()) });
            let before = variables.clone();
            if !self.read_variables(&path, file.first(), &outer, &mut variables, raw)? && required {
                let message = format!("there is no env_file {}", self.sources.shown(&path));
                let help = "write its path relative to the project directory, or `required: false`";
                return Err(vec![Problem::new(file.first(), message, Some(help.into()))]);
            }
            let new = variables.iter().filter(|(name, value)| before.get(*name) != Some(value));
            merged.extend(new.map(|(name, value)| (name.clone(), Some(value.clone()), file.first())));
        }
        let unset: Vec<Node> = own
            .iter()
            .filter(|(_, value, _)| value.is_none())
            .map(|(name, _, place)| Node::quoted(name, *place))
            .collect();
        merged.extend(own);
        replace(service, "environment", merged);
        if let Some(place) = unset.first().map(|first| first.place) {
            put(service, Node::quoted("unset_environment", place), Node::new(Kind::List(unset), place));
        }
        self.count(service, "environment")?;
        Ok(named)
    }

    /// Replaces `labels` and `label_file` of a service by one map.
    pub(super) fn labels(&mut self, service: &mut Node) -> Result<(), Vec<Problem>> {
        let Some((_, files)) = take(service, "label_file") else { return Ok(()) };
        let own = match service.get("labels") {
            Some((_, own)) => match lines(own) {
                Some(own) => own,
                None => return Ok(()),
            },
            None => Vec::new(),
        };
        let mut variables = Variables::new();
        let mut merged: Vec<Line> = Vec::new();
        for file in items(&files) {
            let path = file.text().unwrap_or_default().to_owned();
            if !self.read_variables(&path, file.place, &Variables::new(), &mut variables, false)? {
                let message = format!("there is no label_file {}", self.sources.shown(&path));
                let help = "write its path relative to the project directory";
                return Err(vec![Problem::new(file.place, message, Some(help.into()))]);
            }
            merged.extend(variables.iter().map(|(name, value)| (name.clone(), Some(value.clone()), file.place)));
        }
        merged.extend(own.into_iter().map(|(name, value, place)| (name, Some(value.unwrap_or_default()), place)));
        replace(service, "labels", merged);
        self.count(service, "labels")
    }

    /// Counts what files and variables have made of a key.
    fn count(&mut self, service: &Node, key: &str) -> Result<(), Vec<Problem>> {
        let Some((key, made)) = service.get(key) else { return Ok(()) };
        self.sources.count(made.size(), key.place).map_err(|problem| vec![problem])
    }
}

/// The path of an entry, whether it must be there, and whether its lines are taken as they are.
fn env_file(entry: &Node) -> Result<Option<(String, bool, bool)>, Vec<Problem>> {
    if let Some(path) = entry.text() {
        return Ok((!path.is_empty()).then(|| (path.to_owned(), true, false)));
    }
    let of = |key: &str| entry.get(key).and_then(|(_, value)| Some((value.text()?, value.place)));
    let one = |place, message: &str, help: &'static str| {
        Err(vec![Problem::new(place, message.to_owned(), Some(help.into()))])
    };
    let Some((path, _)) = of("path") else {
        return one(entry.first(), "an env_file names no file", "write `path: PATH`");
    };
    let required = match of("required") {
        None | Some(("true", _)) => true,
        Some(("false", _)) => false,
        Some((_, place)) => return one(place, "`required` is neither true nor false", "write `true` or `false`"),
    };
    match of("format") {
        None => Ok(Some((path.to_owned(), required, false))),
        Some(("raw", _)) => Ok(Some((path.to_owned(), required, true))),
        Some((_, place)) => one(place, "the only format of an env_file is `raw`", "write `format: raw`, or remove it"),
    }
}

/// The lines of a map or of a list of `NAME=value`; `None` if it is neither.
fn lines(node: &Node) -> Option<Vec<Line>> {
    match &node.kind {
        Kind::Scalar { .. } => None,
        Kind::Map(entries) => {
            let line = |(key, value): &(Node, Node)| {
                let text = value.text()?;
                let value = (!value.is_nothing()).then(|| text.to_owned());
                Some((key.text()?.to_owned(), value, key.place))
            };
            entries.iter().map(line).collect()
        }
        Kind::List(items) => {
            let line = |item: &Node| {
                let (name, value) = match item.text()?.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (item.text()?, None),
                };
                (!name.is_empty()).then(|| (name.to_owned(), value, item.place))
            };
            items.iter().map(line).collect()
        }
    }
}

/// Writes the lines as the map `key` of a service; the last one of a name wins, and one without a value takes it away.
fn replace(service: &mut Node, key: &str, lines: Vec<Line>) {
    let place = service.get(key).map_or_else(|| service.first(), |(key, _)| key.place);
    let mut values = std::collections::BTreeMap::new();
    for (name, value, place) in lines {
        values.insert(name, (value, place));
    }
    let values = values
        .into_iter()
        .filter_map(|(name, (value, place))| Some((Node::quoted(name, place), Node::quoted(value?, place))));
    let map = Node::new(Kind::Map(values.collect()), place);
    take(service, key);
    put(service, Node::quoted(key, place), map);
}
