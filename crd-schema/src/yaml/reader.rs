//! Reads YAML events into a tree of nodes that know their places.

use super::node::{Kind, MergeTag, Node, Place, Problem, size_of_text};
use std::{borrow::Cow, collections::HashMap};

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

/// How deep collections may nest. A service needs 7.
const MAX_DEPTH: usize = 64;
/// How many nodes a document may have once its aliases are written out. A service of 1,000 lines has about 4,000.
const MAX_NODES: usize = 50_000;
/// How many problems of one document are told.
const MAX_PROBLEMS: usize = 20;

/// Reads one document; `None` when it is empty. Lines count from `line_offset`.
///
/// # Errors
/// What is wrong with it as YAML: the first problem of its syntax, or every duplicate key.
pub(crate) fn read(text: &str, line_offset: usize) -> Result<Option<Node>, Vec<Problem>> {
    read_as(text, line_offset, None)
}

/// As [`read`], for one document of the Compose file number `file`: its merge tags are known.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_compose(text: &str, line_offset: usize, file: usize) -> Result<Option<Node>, Vec<Problem>> {
    read_as(text, line_offset, Some(file))
}

fn read_as(text: &str, line_offset: usize, compose: Option<usize>) -> Result<Option<Node>, Vec<Problem>> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        text,
        line_offset,
        compose,
        anchors: HashMap::new(),
        nodes: 0,
        problems: Vec::new(),
    };
    let node = match reader.document() {
        Ok(node) => node,
        Err(problem) => {
            reader.problems.push(problem);
            None
        }
    };
    if reader.problems.is_empty() { Ok(node) } else { Err(reader.problems) }
}

struct Reader<'t> {
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    line_offset: usize,
    /// The number of the Compose file that is read, if it is one.
    compose: Option<usize>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    problems: Vec<Problem>,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Place), Problem> {
        match self.parser.next() {
            Some(Ok((event, span))) => Ok((event, self.place(&span))),
            Some(Err(error)) => {
                let at = error.marker();
                let file = self.compose.unwrap_or_default();
                let place = Place { line: at.line() + self.line_offset, column: at.col() + 1, width: 1, file };
                let info = error.info();
                let (place, help) = syntax_help(self.text, self.line_offset, place, &info);
                Err(Problem::new(place, format!("not valid YAML: {info}"), help))
            }
            None => Ok((Event::StreamEnd, Place::START)),
        }
    }

    fn place(&self, span: &Span) -> Place {
        let (start, end) = (span.start, span.end);
        // A scalar over several lines is underlined to the end of its first one, which rendering cuts to.
        let width = if end.line() == start.line() { end.col().saturating_sub(start.col()) } else { usize::MAX };
        let file = self.compose.unwrap_or_default();
        Place { line: start.line() + self.line_offset, column: start.col() + 1, width: width.max(1), file }
    }

    fn document(&mut self) -> Result<Option<Node>, Problem> {
        let mut root = None;
        loop {
            let (event, place) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event => root = Some(self.node(event, place, 0)?),
            }
        }
    }

    fn count(&mut self, nodes: usize, place: Place) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        Err(Problem::new(
            place,
            format!("the document has more than {MAX_NODES} values, aliases written out"),
            Some(
                "write one service a document, and less by alias: `*name` counts as everything it stands for, and each \
                 64 bytes of a text as a value"
                    .into(),
            ),
        ))
    }

    fn node(&mut self, event: Event<'t>, place: Place, depth: usize) -> Result<Node, Problem> {
        if depth > MAX_DEPTH {
            let message = format!("lists and maps nest more than {MAX_DEPTH} deep");
            return Err(Problem::new(place, message, Some("a service needs 7 levels; is a bracket missing?".into())));
        }
        self.count(1, place)?;
        let (kind, anchor, tag) = match event {
            Event::Alias(id) => return self.alias(id, place),
            Event::Scalar(text, style, anchor, tag) => {
                let (core, tag) = self.tags(tag.as_deref(), place)?;
                let plain = match core {
                    Some("str") => false,
                    Some("null" | "bool" | "int" | "float") => true,
                    Some(_) => return Err(tag_problem(place, "a list or map tag on text")),
                    None => style == ScalarStyle::Plain,
                };
                self.count(size_of_text(&text) - 1, place)?;
                (Kind::Scalar { text: text.into_owned(), plain }, anchor, tag)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let (_, tag) = self.tags(tag.as_deref(), place)?;
                (self.list(depth)?, anchor, tag)
            }
            Event::MappingStart(_, anchor, tag) => {
                let (_, tag) = self.tags(tag.as_deref(), place)?;
                (self.map(depth)?, anchor, tag)
            }
            _ => return Err(Problem::new(place, "not valid YAML: a value is missing".into(), None)),
        };
        let node = Node { tag, ..Node::new(kind, place) };
        if anchor != 0 {
            let size = node.size();
            self.count(size, place)?; // the copy kept for aliases: nested anchors must not cost their depth squared
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, place: Place) -> Result<Node, Problem> {
        let Some(size) = self.anchors.get(&id).map(|(_, size)| *size) else {
            return Err(Problem::new(
                place,
                "this alias stands for a value it is itself part of".into(),
                Some("write the value out".into()),
            ));
        };
        self.count(size, place)?;
        let node = self.anchors.get(&id).map(|(node, _)| node.moved(place));
        node.ok_or_else(|| Problem::new(place, "unknown alias".into(), None))
    }

    /// The tag as one of YAML's own, and as one of Compose's.
    fn tags<'a>(&self, tag: Option<&'a Tag>, place: Place) -> Result<(Option<&'a str>, MergeTag), Problem> {
        let merge = match tag.map(Tag::parts) {
            Some(("!", "reset")) => MergeTag::Reset,
            Some(("!", "override")) => MergeTag::Override,
            _ => MergeTag::None,
        };
        if merge != MergeTag::None && self.compose.is_some() {
            return Ok((None, merge));
        }
        // What `<<` is in YAML 1.1, where somebody writes it out.
        if tag.is_some_and(|tag| tag.core_suffix() == Some("merge") || tag.to_string().ends_with(":merge")) {
            return Ok((None, MergeTag::None));
        }
        let core = core_tag(tag, place).map_err(|problem| match self.compose {
            Some(_) => Problem { help: Some("Compose knows `!reset` and `!override`".into()), ..problem },
            None => problem,
        })?;
        Ok((core, MergeTag::None))
    }

    fn list(&mut self, depth: usize) -> Result<Kind, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Kind::List(items)),
                (event, place) => items.push(self.node(event, place, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Kind, Problem> {
        let mut entries: Vec<(Node, Node)> = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut merges = Vec::new();
        loop {
            let (event, place) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let key = self.node(event, place, depth + 1)?;
            let (event, value_place) = self.next()?;
            let value = self.node(event, value_place, depth + 1)?;
            let Kind::Scalar { text, plain } = &key.kind else {
                let message = "a key must be plain text, not a list or a map".to_owned();
                let help = "write one word or one quoted text before the `:`";
                self.problems.push(Problem::new(place, message, Some(help.into())));
                continue;
            };
            if *plain && text == "<<" {
                merges.push((place, value));
                continue;
            }
            if let Some(first) = seen.insert(text.clone(), place.line) {
                let help = format!("the first `{text}` is on line {first}; keep one of the two");
                let message = format!("duplicate key `{text}`");
                self.problems.push(Problem::new(place, message, Some(help.into())));
                if self.problems.len() >= MAX_PROBLEMS {
                    return Err(Problem::new(
                        place,
                        "too many problems to tell".into(),
                        Some("begin with those above".into()),
                    ));
                }
                continue;
            }
            entries.push((key, value));
        }
        for (place, value) in merges {
            let maps = match value.kind {
                Kind::List(items) => items,
                kind => vec![Node { kind, ..value }],
            };
            for map in maps {
                let Kind::Map(pairs) = map.kind else {
                    let help = "write `<<: *name`, where `&name` stands before a map".into();
                    return Err(Problem::new(place, "`<<` merges maps, and this is none".into(), Some(help)));
                };
                for (key, value) in pairs {
                    let text = key.text().unwrap_or_default().to_owned();
                    if seen.insert(text, place.line).is_none() {
                        entries.push((Node { place, ..key }, value));
                    }
                }
            }
        }
        Ok(Kind::Map(entries))
    }
}

/// YAML's own tag, if there is one.
fn core_tag(tag: Option<&Tag>, place: Place) -> Result<Option<&str>, Problem> {
    match tag {
        None => Ok(None),
        Some(tag) => match tag.core_suffix() {
            Some(suffix) => Ok(Some(suffix)),
            None => Err(tag_problem(place, &tag.to_string())),
        },
    }
}

fn tag_problem(place: Place, tag: &str) -> Problem {
    let help = "a document here is complete in itself: there is nothing to `!reset` or `!override`";
    Problem::new(place, format!("the YAML tag `{tag}` is not supported"), Some(help.into()))
}

/// What usually is behind a message of the YAML parser, and where.
fn syntax_help(text: &str, offset: usize, at: Place, info: &str) -> (Place, Option<Cow<'static, str>>) {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let from = at.line.saturating_sub(offset + 1);
    let tab = text.lines().enumerate().skip(from).take(2).find_map(|(number, line)| {
        let column = line.get(..indent(line))?.find('\t')? + 1;
        Some(Place { line: offset + number + 1, column, width: 1, file: at.file })
    });
    if let Some(place) = tab {
        return (place, Some("indent with spaces: YAML allows no tabs there".into()));
    }
    let help = if info.contains("anchor") {
        "`*name` stands for a value marked `&name` above it in the same document; text that starts with `*` needs quotes"
    } else if info.contains("unclosed") {
        "it is opened here and not closed before the document ends"
    } else {
        "look at this line and the one above: the indentation, a missing `:` or quote, or text that needs quotes"
    };
    (at, Some(help.into()))
}
