//! From text to objects, or to everything that is wrong with it.

use std::borrow::Cow;

use serde::Deserialize;

use crate::{
    Diagnostic, Object, Project, Service, advice, check,
    mask::Lines,
    yaml::{self, Failure, Fault, Kind, Node, Place, Problem},
};

/// The largest file that is read: 1 MiB.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// How many problems of one document are told, so that a broken file does not scroll away its own first line.
const MAX_PROBLEMS: usize = 20;
/// How many problems of one file are told.
const MAX_PROBLEMS_OF_A_FILE: usize = 100;
/// A port of the long form has about so many values.
const VALUES_OF_A_PORT: usize = 4;
/// How many values one file may have, aliases and ranges of ports written out.
const MAX_VALUES_OF_A_FILE: usize = 250_000;

/// One object of a file, and where it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The object, normalised and validated.
    pub object: Object,
    /// The line its document starts on (its first key), from 1.
    pub line: usize,
    /// How much it is: its values, aliases and ranges of ports written out. Each 64 bytes of a text count as one.
    pub values: usize,
}

/// Reads every document of `text`; empty documents are skipped. `file` is only a name for messages.
///
/// Never panics, and refuses hostile text (over [`MAX_FILE_BYTES`], too deep, too many values by alias) within a
/// second.
///
/// # Errors
/// Every problem found, in the order of the file: of the text as YAML, of the shape of a document, and, when the shape
/// is right, of its meaning. Up to 20 a document and 100 a file. No object is returned then.
pub fn parse(file: &str, text: &str) -> Result<Vec<Parsed>, Vec<Diagnostic>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Err(problem) = yaml::precheck(text, MAX_FILE_BYTES) {
        return Err(vec![diagnostic(file, None, problem)]);
    }
    let text = if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(text)
    };
    let mut objects = Vec::new();
    let mut problems = Vec::new();
    let mut values = 0_usize;
    for (line, document) in yaml::documents(&text) {
        match yaml::read(document, line).and_then(read) {
            Ok(Some(found)) => {
                values = values.saturating_add(found.values);
                if values > MAX_VALUES_OF_A_FILE {
                    let place = Place { line: found.line, ..Place::START };
                    problems.push(too_many(place));
                    break;
                }
                objects.push(found);
            }
            Ok(None) => {}
            Err(found) => problems.extend(found),
        }
        if problems.len() >= MAX_PROBLEMS_OF_A_FILE {
            problems.truncate(MAX_PROBLEMS_OF_A_FILE);
            break;
        }
    }
    if problems.is_empty() {
        return Ok(objects);
    }
    let lines = Lines::new(&text);
    Err(problems.into_iter().map(|problem| diagnostic(file, Some(&lines), problem)).collect())
}

/// [`parse`] for bytes as they lie on the disk: UTF-8, with or without a byte order mark.
///
/// # Errors
/// As [`parse`], and when the bytes are not UTF-8.
pub fn parse_bytes(file: &str, bytes: &[u8]) -> Result<Vec<Parsed>, Vec<Diagnostic>> {
    if bytes.len() > MAX_FILE_BYTES + '\u{feff}'.len_utf8() {
        return Err(vec![diagnostic(file, None, yaml::too_large(bytes.len(), MAX_FILE_BYTES))]);
    }
    let valid = match std::str::from_utf8(bytes) {
        Ok(text) => return parse(file, text),
        Err(error) => error.valid_up_to(),
    };
    let before = String::from_utf8_lossy(bytes.get(..valid).unwrap_or_default());
    let place = Place::after(&before);
    let problem = Problem::new(place, "the file is not UTF-8 text".to_owned(), Some("save it as UTF-8".into()));
    Err(vec![diagnostic(file, Some(&Lines::new(&before)), problem)])
}

/// Reads a file of one document that is no object, by the same rules. Its lines are not shown.
pub(crate) fn one<T: for<'de> Deserialize<'de>>(file: &str, bytes: &[u8]) -> Result<T, Vec<Diagnostic>> {
    let read = || {
        let start = Place::after("");
        let wrong = |message: &str| vec![Problem::new(start, message.to_owned(), None)];
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("the file is not UTF-8 text"))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
        yaml::precheck(&text, MAX_FILE_BYTES).map_err(|problem| vec![problem])?;
        let mut documents = Vec::new();
        for (line, document) in yaml::documents(&text) {
            documents.extend(yaml::read(document, line)?);
        }
        match documents.as_mut_slice() {
            [node] if matches!(node.kind, Kind::Map(_)) => {
                strip_extensions(node, false);
                collect(node, "")
            }
            _ => Err(wrong("the file is to hold one document, a map")),
        }
    };
    read().map_err(|problems| problems.into_iter().map(|problem| diagnostic(file, None, problem)).collect())
}

fn too_many(place: Place) -> Problem {
    let message =
        format!("the file has more than {MAX_VALUES_OF_A_FILE} values, aliases and ranges of ports written out");
    let help = "write several files; each 64 bytes of a text count as a value";
    Problem::new(place, message, Some(help.into()))
}

/// How long a line may be to be shown, and how long a message.
const MAX_SHOWN: usize = 1000;

pub(crate) fn diagnostic(file: &str, lines: Option<&Lines<'_>>, problem: Problem) -> Diagnostic {
    let Place { line, mut column, mut width, .. } = problem.place;
    let shown = lines.and_then(|lines| lines.show(line)).filter(|(text, _)| text.len() <= MAX_SHOWN);
    if let Some((text, kept)) = &shown {
        let length = text.chars().count();
        column = column.min(kept.saturating_add(1)).min(length + 1);
        width = width.min((length + 1).saturating_sub(column));
    }
    Diagnostic {
        file: file.to_owned(),
        line,
        column,
        width: width.clamp(1, MAX_SHOWN),
        message: clip(problem.message),
        help: problem.help.map(|help| clip(help.into_owned())),
        source_line: shown.map(|(text, _)| text),
    }
}

fn clip(text: String) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// The kinds of documents.
const KINDS: &[&str] = &["Service", "Project"];

fn read(node: Option<Node>) -> Result<Option<Parsed>, Vec<Problem>> {
    let Some(mut node) = node else { return Ok(None) };
    if node.is_nothing() {
        return Ok(None);
    }
    let Kind::Map(_) = &node.kind else {
        let help = "write apiVersion, kind, metadata and spec".into();
        return Err(vec![Problem::new(node.place, "a document must be a map".to_owned(), Some(help))]);
    };
    strip_extensions(&mut node, false);
    let line = node.first().line;
    let values = node.size();
    let object = match node.get("kind").map(|(_, kind)| (kind.text(), kind.place)) {
        Some((Some("Service"), _)) => collect::<Service>(&mut node, "").map(Object::Service),
        Some((Some("Project"), _)) => collect::<Project>(&mut node, "").map(Object::Project),
        Some((kind, place)) => {
            let near = kind.and_then(|kind| advice::nearest(kind, KINDS));
            let help = near
                .map_or_else(|| "write `Service` or `Project`".to_owned(), |near| format!("did you mean `{near}`?"));
            Err(vec![Problem::new(place, "unknown kind of document".to_owned(), Some(help.into()))])
        }
        None => {
            let compose = ["services", "version"]
                .iter()
                .find_map(|key| Some((node.get(key)?.0.place, advice::unsupported("", key)?)));
            Err(vec![match compose {
                Some((place, help)) => Problem::new(place, "the document has no `kind`".to_owned(), Some(help.into())),
                None => Problem::new(
                    node.first(),
                    "the document has no `kind`".to_owned(),
                    Some("start it with `apiVersion: composed.dev/v1` and `kind: Service`".into()),
                ),
            }])
        }
    }?;
    let problems = check::check(&object, &node);
    let ports = match &object {
        Object::Service(service) => service.spec.ports.len() * VALUES_OF_A_PORT,
        Object::Project(_) => 0,
    };
    if problems.is_empty() { Ok(Some(Parsed { object, line, values: values + ports })) } else { Err(problems) }
}

/// Maps whose keys are names people choose, so that one may start with `x-`.
const FREE_MAPS: &[&str] = &[
    "annotations",
    "aux_addresses",
    "depends_on",
    "driver_opts",
    "environment",
    "extra_hosts",
    "labels",
    "networks",
    "options",
    "storage_opt",
    "sysctls",
    "ulimits",
    "volumes",
];

/// Removes Compose's extension keys (`x-...`), which mean nothing to anybody but people and anchors.
/// Source: compose-spec 11-extension.
fn strip_extensions(node: &mut Node, free: bool) {
    match &mut node.kind {
        Kind::Scalar { .. } => {}
        Kind::List(items) => items.iter_mut().for_each(|item| strip_extensions(item, false)),
        Kind::Map(entries) => {
            entries.retain(|(key, _)| free || !key.text().is_some_and(|key| key.starts_with("x-")));
            for (key, value) in entries {
                let free = !free && key.text().is_some_and(|key| FREE_MAPS.contains(&key));
                strip_extensions(value, free);
            }
        }
    }
}

/// Reads until nothing new is wrong: what failed is left out, and the rest read again. `root` is how people call the
/// node, such as `services.web`; empty for a document.
pub(crate) fn collect<T: for<'de> Deserialize<'de>>(node: &mut Node, root: &str) -> Result<T, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut left_out: Vec<String> = Vec::new();
    while problems.len() < MAX_PROBLEMS {
        let failure = match yaml::from_node(node) {
            Ok(object) if problems.is_empty() => return Ok(object),
            Ok(_) => break,
            Err(failure) => failure,
        };
        let (steps, path) = (failure.steps(), failure.path());
        let known = matches!(failure.fault, Fault::MissingKey(key) if left_out.contains(&join(&path, key)));
        if !known {
            problems.push(explain(failure, node.first(), root));
        }
        if steps.is_empty() {
            break;
        }
        left_out.push(path);
        node.drop_at(&steps);
    }
    Err(problems)
}

fn join(path: &str, key: &str) -> String {
    match (path, key) {
        ("", word) | (word, "") => word.to_owned(),
        _ => format!("{path}.{key}"),
    }
}

/// Says in full what serde only knows in part.
fn explain(failure: Failure, start: Place, root: &str) -> Problem {
    let path = join(root, &failure.path());
    let place = failure.place.unwrap_or(start);
    let within = if path.is_empty() { "the document" } else { path.as_str() };
    let (message, help) = match &failure.fault {
        Fault::UnknownKey { key, known } => match (advice::unsupported(&path, key), advice::nearest(key, known)) {
            (Some(why), _) => (format!("`{key}` is not supported in {within}"), Some(why.to_owned())),
            (None, Some(near)) => (format!("unknown key `{key}` in {within}"), Some(format!("did you mean `{near}`?"))),
            (None, None) => {
                let few = (known.len() <= 10).then(|| format!("known here: {}", words(known)));
                let help = few.unwrap_or_else(|| {
                    "composed ignores nothing: remove it, or name it `x-...` to keep it as a note".to_owned()
                });
                (format!("unknown key `{key}` in {within}"), Some(help))
            }
        },
        Fault::UnknownWord { word, known } => {
            let near = advice::nearest(word, known).map(|near| format!("did you mean `{near}`?"));
            (format!("{path}: unknown value `{word}`"), near.or_else(|| Some(format!("write {}", words(known)))))
        }
        Fault::MissingKey(key) => {
            (format!("`{key}` is missing in {within}"), Some(format!("write `{key}: ...` there")))
        }
        Fault::Other if path.is_empty() => (failure.message, failure.help),
        Fault::Other => (format!("{path}: {}", failure.message), failure.help),
    };
    Problem::new(place, message, help.map(Cow::Owned))
}

/// `` `a`, `b` or `c` ``
pub(crate) fn words(known: &[&str]) -> String {
    let quoted: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
