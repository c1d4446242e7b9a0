//! A YAML document as a tree: every node knows its place and scalars keep their text. Aliases and merges are resolved
//! here, within a budget; of the tags other than YAML's own, Compose's two are known where a Compose file is read.

use std::{borrow::Cow, collections::HashMap};

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

/// How deep collections may nest. A service needs 7.
const MAX_DEPTH: usize = 64;
/// How many nodes a document may have once its aliases are written out. A service of 1,000 lines has about 4,000.
const MAX_NODES: usize = 50_000;

/// How many problems of one document are told.
const MAX_PROBLEMS: usize = 20;

/// Where something stands, from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) width: usize,
    /// Which of the files that are read together it is in, from 0.
    pub(crate) file: usize,
}

impl Place {
    pub(crate) const START: Self = Self { line: 1, column: 1, width: 1, file: 0 };

    /// The place right behind the text.
    pub(crate) fn after(text: &str) -> Self {
        let line = text.matches('\n').count() + 1;
        let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column, width: 1, file: 0 }
    }
}

/// What is wrong with a text as YAML.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) place: Place,
    pub(crate) message: String,
    pub(crate) help: Option<Cow<'static, str>>,
}

impl Problem {
    pub(crate) const fn new(place: Place, message: String, help: Option<Cow<'static, str>>) -> Self {
        Self { place, message, help }
    }
}

/// One node of the tree.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) place: Place,
    /// Left out on the next reading: it has been reported.
    pub(crate) skip: bool,
    /// What Compose says with a tag about merging it.
    pub(crate) tag: MergeTag,
}

/// How a value stands to the one it is merged over. Source: compose-spec 13-merge, "Reset value", "Replace value".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MergeTag {
    /// Merged by the rules of its key.
    #[default]
    None,
    /// `!reset`: there is no value any more.
    Reset,
    /// `!override`: nothing of the other value is kept.
    Override,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Text, and whether it was written without quotes, so that it may also mean a number, a boolean or nothing.
    Scalar { text: String, plain: bool },
    /// A list.
    List(Vec<Node>),
    /// A map, its keys in the order of the file.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// A node of this kind.
    pub(crate) const fn new(kind: Kind, place: Place) -> Self {
        Self { kind, place, skip: false, tag: MergeTag::None }
    }

    /// Text, as if it were written in quotes.
    pub(crate) fn quoted(text: impl Into<String>, place: Place) -> Self {
        Self::new(Kind::Scalar { text: text.into(), plain: false }, place)
    }

    /// A word or a number, as if it were written without quotes.
    pub(crate) fn plain(text: impl Into<String>, place: Place) -> Self {
        Self::new(Kind::Scalar { text: text.into(), plain: true }, place)
    }

    /// Whether nothing is written: `key:`, `~` or `null`.
    pub(crate) fn is_nothing(&self) -> bool {
        let nothing = |text: &str| matches!(text, "" | "~" | "null" | "Null" | "NULL");
        matches!(&self.kind, Kind::Scalar { text, plain: true } if nothing(text))
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// The value of a key of a map.
    pub(crate) fn get(&self, key: &str) -> Option<(&Self, &Self)> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().map(|(k, v)| (k, v)).find(|(k, _)| k.text() == Some(key)),
            Kind::Scalar { .. } | Kind::List(_) => None,
        }
    }

    /// The place to point at for a key path such as `["spec", "ports", "0"]`: the last part of it that is written.
    /// A scalar item of a list is its own place, a map item its first key's.
    pub(crate) fn locate(&self, path: &[&str]) -> Place {
        let mut node = self;
        let mut place = self.first();
        for part in path {
            if let Some((key, value)) = node.get(part) {
                (node, place) = (value, key.place);
            } else if let (Kind::List(items), Ok(index)) = (&node.kind, part.parse::<usize>())
                && let Some(item) = items.get(index)
            {
                (node, place) = (item, item.first());
            } else {
                break;
            }
        }
        place
    }

    /// The place of the first thing in it that can be underlined.
    pub(crate) fn first(&self) -> Place {
        match &self.kind {
            Kind::Map(entries) => entries.first().map_or(self.place, |(key, _)| key.place),
            Kind::Scalar { .. } | Kind::List(_) => self.place,
        }
    }

    /// Leaves the node at `path` (positions of map entries and list items) out of the next reading.
    pub(crate) fn drop_at(&mut self, path: &[usize]) {
        let Some((index, rest)) = path.split_first() else {
            self.skip = true;
            return;
        };
        let child = match &mut self.kind {
            Kind::List(items) => items.get_mut(*index),
            Kind::Map(entries) => entries.get_mut(*index).map(|(_, value)| value),
            Kind::Scalar { .. } => None,
        };
        if let Some(child) = child {
            child.drop_at(rest);
        }
    }

    /// How much it is: its values, of which a long text counts as several.
    pub(crate) fn size(&self) -> usize {
        match &self.kind {
            Kind::Scalar { text, .. } => size_of_text(text),
            Kind::List(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            Kind::Map(entries) => 1 + entries.iter().map(|(k, v)| k.size() + v.size()).sum::<usize>(),
        }
    }

    /// The same node seen from elsewhere: a problem in it is shown where it is used.
    fn moved(&self, place: Place) -> Self {
        let kind = match &self.kind {
            Kind::Scalar { text, plain } => Kind::Scalar { text: text.clone(), plain: *plain },
            Kind::List(items) => Kind::List(items.iter().map(|item| item.moved(place)).collect()),
            Kind::Map(entries) => Kind::Map(entries.iter().map(|(k, v)| (k.moved(place), v.moved(place))).collect()),
        };
        Self { kind, place, skip: false, tag: self.tag }
    }
}

/// As how many values a text counts: one, and one more for each 64 bytes, since what is bounded is memory.
pub fn size_of_text(text: &str) -> usize {
    const BYTES: usize = 64;
    1 + text.len() / BYTES
}

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
