//! A YAML document as a tree: every node knows its place and scalars keep their text. Aliases and merges are resolved
//! here, within a budget; of the tags other than YAML's own, Compose's two are known where a Compose file is read.

use std::borrow::Cow;

/// Where something stands, from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    pub(super) fn moved(&self, place: Place) -> Self {
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
