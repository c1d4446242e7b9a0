//! The files that one project is read from, and everything that bounds what strangers' files can make of our time and
//! memory.

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::mask::Lines;
use crate::parse::{MAX_FILE_BYTES, diagnostic};
use crate::yaml::{self, Node, Place, Problem, size_of_text};

use super::interpolate;
use super::path::join;

/// Reads the files that a project is made of. The only way of the loader to anything outside.
pub trait Files {
    /// The content of a file; `None` when there is none. The path is relative to the project directory (`../` goes out
    /// of it) or absolute, without `.` and needless `..`.
    ///
    /// # Errors
    /// Why it may or can not be read, for people.
    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, String>;
}

/// How many problems of one project are told.
pub(super) const MAX_PROBLEMS: usize = 100;
/// How many files one project may be read from.
const MAX_FILES: usize = 200;
/// How many documents one file may have; each is merged over those before it.
const MAX_DOCUMENTS: usize = 100;
/// How many values all its files may have, with what `extends`, files of variables and short forms make of them.
const MAX_NODES: usize = 250_000;

struct Source {
    shown: String,
    /// Absent for files of variables, which hold secrets: their lines are not shown.
    text: Option<String>,
}

/// The files that were read, and what is left of the budgets.
pub(super) struct Sources<'f> {
    files: &'f mut dyn Files,
    /// The project directory as messages name it.
    directory: String,
    read: Vec<Source>,
    nodes: usize,
    /// How much text may still be made of variables.
    pub(super) room: usize,
    /// What texts were made of, where they differ.
    pub(super) templates: BTreeMap<String, String>,
    /// The same by the places of the texts.
    pub(super) filled: interpolate::Filled,
}

impl<'f> Sources<'f> {
    /// `main` is the file that problems of the whole project are shown in.
    pub(super) fn new(files: &'f mut dyn Files, directory: &str, main: &str) -> Self {
        let directory = if directory.is_empty() { "." } else { directory };
        Self {
            files,
            directory: directory.to_owned(),
            read: vec![Source { shown: join(directory, main), text: None }],
            nodes: MAX_NODES,
            room: interpolate::room(),
            templates: BTreeMap::new(),
            filled: interpolate::Filled::default(),
        }
    }

    /// A file as messages name it.
    pub(super) fn shown(&self, path: &str) -> String {
        join(&self.directory, path)
    }

    /// The name of the file that a place is in.
    pub(super) fn file_of(&self, place: Place) -> String {
        self.read.get(place.file).map(|source| source.shown.clone()).unwrap_or_default()
    }

    /// The text of a file of variables, and its number; `None` when there is no such file. `from` is where it is named.
    pub(super) fn variables(&mut self, path: &str, from: Place) -> Result<Option<(String, usize)>, Problem> {
        let Some(bytes) = self.bytes(path, from)? else { return Ok(None) };
        let text = String::from_utf8(bytes).map_err(|_| self.unreadable(path, from, "it is not UTF-8 text"))?;
        self.count(size_of_text(&text), from)?;
        self.read.push(Source { shown: self.shown(path), text: None });
        Ok(Some((text, self.read.len() - 1)))
    }

    /// The documents of a Compose file; `None` when there is no such file. `from` is where it is named.
    pub(super) fn documents(&mut self, path: &str, from: Place) -> Result<Option<Vec<Node>>, Vec<Problem>> {
        if path.contains(":/") || path.starts_with("git@") {
            let message = format!("`{path}` is not a file of this host");
            let help = "composed fetches nothing: keep a copy in the project directory, and name that";
            return Err(vec![Problem::new(from, message, Some(help.into()))]);
        }
        let Some(bytes) = self.bytes(path, from).map_err(|problem| vec![problem])? else { return Ok(None) };
        let number = self.read.len();
        let mut source = Source { shown: self.shown(path), text: None };
        let checked = match String::from_utf8(bytes) {
            Ok(text) => yaml::precheck(&text, MAX_FILE_BYTES).map(|()| text),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let before = String::from_utf8_lossy(error.as_bytes().get(..valid).unwrap_or_default()).into_owned();
                let message = "the file is not UTF-8 text".to_owned();
                Err(Problem::new(Place::after(&before), message, Some("save it as UTF-8".into())))
            }
        };
        let text = match checked {
            Ok(text) => text.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n"),
            Err(problem) => {
                self.read.push(source);
                let place = Place { file: number, ..problem.place };
                return Err(vec![Problem { place, ..problem }]);
            }
        };
        source.text = Some(text.clone());
        self.read.push(source);
        let mut found = Vec::new();
        let mut problems = Vec::new();
        let documents = yaml::documents(&text);
        if documents.len() > MAX_DOCUMENTS {
            let message = format!("{} has more than {MAX_DOCUMENTS} documents", self.shown(path));
            let help = "write one: a Compose file needs no `---`";
            return Err(vec![Problem::new(Place { file: number, ..Place::START }, message, Some(help.into()))]);
        }
        for (line, document) in documents {
            match yaml::read_compose(document, line, number) {
                Ok(document) => found.extend(document.filter(|document| !document.is_nothing())),
                Err(more) => problems.extend(more),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        if found.is_empty() {
            let message = format!("{} is empty", self.shown(path));
            let help = "write `services:` in it, or remove the file".into();
            return Err(vec![Problem::new(Place { file: number, ..Place::START }, message, Some(help))]);
        }
        for document in &found {
            self.count(document.size(), document.place).map_err(|problem| vec![problem])?;
        }
        Ok(Some(found))
    }

    /// How many values were counted.
    pub(super) fn values(&self) -> usize {
        MAX_NODES - self.nodes
    }

    /// Counts values that are kept.
    pub(super) fn count(&mut self, nodes: usize, place: Place) -> Result<(), Problem> {
        match self.nodes.checked_sub(nodes) {
            Some(left) => {
                self.nodes = left;
                Ok(())
            }
            None => Err(Problem::new(
                place,
                format!(
                    "the project has more than {MAX_NODES} values, with what `extends` copies and ranges of ports make"
                ),
                Some("split it into several projects; each 64 bytes of a text count as a value".into()),
            )),
        }
    }

    fn bytes(&mut self, path: &str, from: Place) -> Result<Option<Vec<u8>>, Problem> {
        if self.read.len() >= MAX_FILES {
            let message = format!("the project is read from more than {MAX_FILES} files");
            return Err(Problem::new(from, message, Some("include each file once".into())));
        }
        let bytes = self.files.read(path).map_err(|why| self.unreadable(path, from, &why))?;
        if let Some(bytes) = &bytes
            && bytes.len() > MAX_FILE_BYTES + '\u{feff}'.len_utf8()
        {
            let why = yaml::too_large(bytes.len(), MAX_FILE_BYTES).message;
            return Err(self.unreadable(path, from, &why));
        }
        Ok(bytes)
    }

    fn unreadable(&self, path: &str, from: Place, why: &str) -> Problem {
        let message = format!("{} cannot be read: {why}", self.shown(path));
        Problem::new(from, message, Some("name a readable text file of at most 1 MiB".into()))
    }

    /// The problems for people, each in its file, in order. What variables held is shown as it was written.
    pub(super) fn diagnostics(&self, mut problems: Vec<Problem>) -> Vec<Diagnostic> {
        problems.sort_by_key(|problem| (problem.place.file, problem.place.line, problem.place.column));
        problems.truncate(MAX_PROBLEMS);
        let lines: Vec<_> = self.read.iter().map(|source| source.text.as_deref().map(Lines::new)).collect();
        let quoted = |(value, template): (&String, &String)| (format!("`{value}`"), format!("`{template}`"));
        let quoted: Vec<_> = if problems.is_empty() { Vec::new() } else { self.templates.iter().map(quoted).collect() };
        let masked = |text: String| {
            let used = quoted.iter().filter(|(value, _)| text.contains(value));
            used.collect::<Vec<_>>().into_iter().fold(text, |text, (value, template)| text.replace(value, template))
        };
        let shown = problems.into_iter().map(|problem| {
            let file = self.file_of(problem.place);
            let lines = lines.get(problem.place.file).and_then(Option::as_ref);
            let Problem { place, message, help } = problem;
            let help = help.map(|help| masked(help.into_owned()).into());
            diagnostic(&file, lines, Problem { place, message: masked(message), help })
        });
        shown.collect()
    }
}
