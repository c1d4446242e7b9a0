//! `$X`, `${X:-default}` and their kin: variables of the project's own environment in values, never in keys.
//! Source: compose-spec 12-interpolation.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::cast;
use crate::yaml::{Kind, Node, Place, Problem};

/// Variables by name.
pub type Variables = BTreeMap<String, String>;

/// How deep `${A:-${B:-...}}` may nest.
const MAX_NESTING: usize = 32;
/// How much text the values of one project may become in all: what a variable of a megabyte, used often, can make of
/// our memory.
const MAX_TEXT: usize = 8 << 20;

/// How long a value is that may be a secret.
const SECRET: usize = 8;

/// What is wrong with a template.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) help: &'static str,
}

impl Wrong {
    fn new(message: impl Into<String>, help: &'static str) -> Self {
        Self { message: message.into(), help }
    }
}

const DOLLAR_HELP: &str = "write `$NAME`, `${NAME}` or `${NAME:-default}`, and `$$` for a dollar sign";
const SET_HELP: &str = "set it in `.env` beside the Compose file, in an --env-file, or with --env NAME=value";

/// Fills in the values of a tree.
pub(super) struct Interpolation<'a> {
    pub(super) variables: &'a Variables,
    /// How much text may still be made.
    pub(super) room: &'a mut usize,
    /// What texts were made of, where they differ: messages show the template in their place.
    pub(super) templates: &'a mut BTreeMap<String, String>,
    /// Where texts were made with variables, and of what.
    pub(super) filled: &'a mut Filled,
    /// Variables that are not set and have no default, where they are first used.
    pub(super) unset: BTreeMap<String, Place>,
    /// Where a path of the host, or a name, would be another one for want of a variable: which one.
    pub(super) lost: BTreeMap<Place, String>,
    pub(super) problems: Vec<Problem>,
}

/// The templates of texts, by file, line and column.
#[derive(Debug, Default)]
pub(super) struct Filled(BTreeMap<(usize, usize, usize), String>);

impl Filled {
    /// Notes that what stands there was made of this template.
    pub(super) fn note(&mut self, place: Place, template: &str) {
        self.0.insert((place.file, place.line, place.column), template.to_owned());
    }

    /// The template of what stands there, if it has one.
    pub(super) fn at(&self, place: Place) -> Option<&str> {
        self.0.get(&(place.file, place.line, place.column)).map(String::as_str)
    }
}

/// How many bytes the values of one project may become.
pub const fn room() -> usize {
    MAX_TEXT
}

impl Interpolation<'_> {
    /// Fills in the values below `node`, which stands at `path` of a Compose file.
    pub(super) fn fill(&mut self, node: &mut Node, path: &mut Vec<String>) {
        let place = node.place;
        match &mut node.kind {
            Kind::List(items) => {
                path.push("[]".to_owned());
                for item in items {
                    self.fill(item, path);
                }
                path.pop();
            }
            Kind::Map(entries) => {
                for (key, value) in entries {
                    path.push(key.text().unwrap_or_default().to_owned());
                    self.fill(value, path);
                    path.pop();
                    let template = value.text().and_then(|_| self.filled.at(value.place)).map(str::to_owned);
                    if let Some(template) = template {
                        self.filled.note(key.place, &template);
                    }
                }
            }
            Kind::Scalar { text, plain } => {
                if text.contains('$') {
                    match self.text(text, place) {
                        Ok(filled) => {
                            if let Some(name) = begins_with(text)
                                .filter(|name| self.unset.contains_key(*name))
                                .filter(|_| names_the_world(path, filled.is_empty()))
                            {
                                self.lost.insert(place, name.to_owned());
                            }
                            self.remember(&filled, text);
                            if text.replace("$$", "").contains('$') {
                                self.filled.note(place, text);
                            }
                            *text = filled;
                            // A variable's value is text, whatever it looks like; the key may say otherwise.
                            *plain = false;
                        }
                        Err(wrong) => {
                            self.problems.push(Problem::new(place, wrong.message, Some(wrong.help.into())));
                            return;
                        }
                    }
                }
                cast::cast(text, plain, path);
            }
        }
    }

    fn remember(&mut self, filled: &str, template: &str) {
        const SHOWN: usize = 3;
        if filled.len() >= SHOWN && filled != template && template.len() < 200 {
            self.templates.entry(filled.to_owned()).or_insert_with(|| template.to_owned());
        }
    }

    /// Fills in one text.
    ///
    /// # Errors
    /// When it is no template, when a variable that it asks for is not set, or when there is no room left.
    pub(super) fn text(&mut self, template: &str, place: Place) -> Result<String, Wrong> {
        let mut unset = BTreeSet::new();
        let used = RefCell::new(BTreeSet::new());
        let lookup = |name: &str| {
            let value = self.variables.get(name)?;
            used.borrow_mut().insert(name.to_owned());
            Some(value.clone())
        };
        let filled = substitute(template, &lookup, &mut unset, *self.room)?;
        for name in used.into_inner() {
            // A part of a text may be told in a message, too. What is short is no secret.
            let value = self.variables.get(&name).filter(|value| value.len() >= SECRET);
            self.remember(value.map_or("", String::as_str), &format!("${{{name}}}"));
        }
        *self.room = self.room.saturating_sub(filled.len());
        for name in unset {
            self.unset.entry(name).or_insert(place);
        }
        Ok(filled)
    }
}

/// The variable without a default that a template begins with.
fn begins_with(template: &str) -> Option<&str> {
    let rest = template.strip_prefix('$')?;
    let (name, braced) = rest.strip_prefix('{').map_or((name_of(rest).0, false), |rest| (name_of(rest).0, true));
    let plain = !braced || rest.get(1 + name.len()..).is_some_and(|rest| rest.starts_with('}'));
    Some(name).filter(|name| plain && !name.is_empty())
}

/// Whether what stands at a path of a Compose file names something outside of it: without its beginning, a path of the host is
/// another one; where nothing is left, so is a name.
fn names_the_world(path: &[String], empty: bool) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["services", _, "volumes", "[]"]
        | ["services", _, "volumes", "[]", "source"]
        | ["configs" | "secrets", _, "file"] => true,
        ["services", _, "image" | "container_name"] | ["networks" | "volumes", _, "name"] => empty,
        _ => false,
    }
}

/// Fills in a template with what `lookup` knows. Names that it does not know and that have no default are put into
/// `unset` and are empty. At most `room` bytes come of it.
pub(super) fn substitute(
    template: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    unset: &mut BTreeSet<String>,
    room: usize,
) -> Result<String, Wrong> {
    Filling { lookup, unset, room }.fill(template, 0)
}

struct Filling<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    unset: &'a mut BTreeSet<String>,
    room: usize,
}

impl Filling<'_> {
    fn fill(&mut self, template: &str, depth: usize) -> Result<String, Wrong> {
        if depth > MAX_NESTING {
            let message = format!("variables nest more than {MAX_NESTING} deep");
            return Err(Wrong::new(message, "give one of them a value of its own"));
        }
        let mut filled = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('$') {
            filled.push_str(before);
            rest = match after.chars().next() {
                Some('$') => {
                    filled.push('$');
                    after.get(1..).unwrap_or_default()
                }
                Some('{') => {
                    let (inside, after) = braced(after.get(1..).unwrap_or_default())?;
                    filled.push_str(&self.expression(inside, depth)?);
                    after
                }
                Some(c) if c == '_' || c.is_ascii_alphabetic() => {
                    let (name, after) = name_of(after);
                    filled.push_str(&self.value(name));
                    after
                }
                _ => {
                    filled.push('$');
                    after
                }
            };
            if filled.len() > self.room {
                let message = format!("the variables of the project make more than {MAX_TEXT} bytes of text");
                return Err(Wrong::new(message, "use the large ones less often"));
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn value(&mut self, name: &str) -> String {
        (self.lookup)(name).unwrap_or_else(|| {
            self.unset.insert(name.to_owned());
            String::new()
        })
    }

    /// What stands between `${` and `}`.
    fn expression(&mut self, inside: &str, depth: usize) -> Result<String, Wrong> {
        let (name, rest) = name_of(inside);
        if name.is_empty() {
            return Err(Wrong::new("`${` is not followed by the name of a variable", DOLLAR_HELP));
        }
        if rest.is_empty() {
            return Ok(self.value(name));
        }
        let (not_empty, operator) = rest.strip_prefix(':').map_or((false, rest), |rest| (true, rest));
        let value = (self.lookup)(name).filter(|value| !(not_empty && value.is_empty()));
        let mut operator = operator.chars();
        match (operator.next(), value) {
            (Some('-' | '?'), Some(value)) => Ok(value),
            (Some('-'), None) | (Some('+'), Some(_)) => self.fill(operator.as_str(), depth + 1),
            (Some('+'), None) => Ok(String::new()),
            (Some('?'), None) => {
                // As it is written: what it is filled with may be a secret.
                let reason = operator.as_str();
                let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                let state = if not_empty { "not set or empty" } else { "not set" };
                Err(Wrong::new(format!("the variable `{name}` is required and {state}{reason}"), SET_HELP))
            }
            _ => Err(Wrong::new(format!("`${{{name}` goes on with what is no operator"), DOLLAR_HELP)),
        }
    }
}

/// The name at the start of the text, and what follows.
fn name_of(text: &str) -> (&str, &str) {
    let first = text.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic());
    let end = text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    text.split_at(if first { end } else { 0 })
}

/// The text up to the `}` that closes it, and what follows.
fn braced(text: &str) -> Result<(&str, &str), Wrong> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                return Ok((text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default()));
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    Err(Wrong::new("`${` has no `}`", DOLLAR_HELP))
}

#[cfg(test)]
mod tests;
