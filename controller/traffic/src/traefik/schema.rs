//! What Traefik takes. Its file and HTTP providers refuse a *whole* configuration for one field that they do not know, one
//! text where a section must be, one number that is none; so each label is read by Traefik's own types before it becomes
//! part of a configuration that other services share. Pure. Source: Traefik v3.7 `pkg/config/dynamic`, paerser `parser`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

/// The types, by name.
static TABLE: LazyLock<Table> = LazyLock::new(|| read(include_str!("schema.txt")));
/// YAML takes keys of 1024 characters as they are written, and one byte may be written as six (`\u007b`); nothing that
/// Traefik names is nearly as long.
const MAX_WORD: usize = 160;
/// No path of Traefik's own is half as deep; a plugin's may be.
const MAX_WORDS: usize = 24;
/// Longer values are nothing that a container's label is for.
const MAX_VALUE: usize = 64 << 10;
/// Places in a list.
const MAX_INDEX: usize = 100;

type Table = BTreeMap<&'static str, BTreeMap<String, (&'static str, Kind)>>;

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Bool,
    Number,
    Port,
    Time,
    /// Texts, separated by commas or by place.
    Texts,
    /// Whatever a plugin takes.
    Anything,
    /// An address that is the same for all replicas: nobody could be taken out of traffic.
    Fixed,
    /// Fields; whether it may stand without any.
    Section(&'static str, bool),
    /// By a name that people choose.
    Named(Box<Kind>),
    /// By place.
    List(Box<Kind>),
}

fn read(text: &'static str) -> Table {
    let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
    let field = |field: &'static str| {
        let (name, kind) = field.split_once('=')?;
        Some((name.to_ascii_lowercase(), (name, Kind::read(kind))))
    };
    lines.map(|(name, fields)| (name, fields.split_whitespace().filter_map(field).collect())).collect()
}

impl Kind {
    fn read(text: &'static str) -> Self {
        let within = |open: char, close: char| text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
        if let Some(inner) = within('{', '}') {
            return Self::Named(Box::new(Self::read(inner)));
        }
        if let Some(inner) = within('[', ']') {
            return Self::List(Box::new(Self::read(inner)));
        }
        let (name, is_optional) = text.strip_suffix('?').map_or((text, false), |name| (name, true));
        match name {
            "s" => Self::Text,
            "b" => Self::Bool,
            "n" => Self::Number,
            "p" => Self::Port,
            "d" => Self::Time,
            "l" => Self::Texts,
            "x" => Self::Fixed,
            "m" => Self::Named(Box::new(Self::Text)),
            "any" => Self::Named(Box::new(Self::Anything)),
            section => Self::Section(section, is_optional),
        }
    }

    /// A value of this kind, or why Traefik would not take it.
    fn value(&self, text: &str) -> Result<Value, String> {
        if text.len() > MAX_VALUE {
            return Err(format!("its value is longer than {MAX_VALUE} bytes"));
        }
        // Traefik's own separator between the parts of a list: a plugin's value that begins with it is refused.
        if text.contains('\u{2551}') {
            return Err("its value has the character U+2551, which Traefik uses itself".to_owned());
        }
        let fits = match self {
            Self::Text | Self::Texts | Self::Anything | Self::Section(_, true) => true,
            Self::Bool => is_bool(text),
            Self::Number => text.parse::<i64>().is_ok(),
            Self::Port => text.parse::<u16>().is_ok_and(|port| port > 0),
            Self::Time => text.parse::<i64>().is_ok() || is_time(text),
            Self::Section(_, false) | Self::Named(_) | Self::List(_) | Self::Fixed => false,
        };
        let needed = match self {
            _ if fits => {
                let parts = || text.split(',').map(|part| Value::String(part.trim().to_owned())).collect();
                let is_list = *self == Self::Texts && !text.is_empty();
                return Ok(if is_list { Value::Array(parts()) } else { Value::String(text.to_owned()) });
            }
            Self::Bool => "true or false",
            Self::Number => "a whole number",
            Self::Port => "a port",
            Self::Fixed => "to be a port: one address for all replicas cannot be taken out of traffic",
            Self::Time => "a time, such as 10s",
            Self::Named(_) => "a name and a field below it",
            Self::List(_) => "a place, such as [0], and a field below it",
            _ => "a field below it",
        };
        Err(format!("it needs {needed}"))
    }
}

/// Puts what a label says (`http`, `routers`, `shop`, `rule`) into a tree, with the fields spelt as Traefik spells them.
/// Nothing is changed when Traefik would not take it: the answer says why, without the value.
pub(super) fn put(tree: &mut Map<String, Value>, words: &[&str], text: &str) -> Result<(), String> {
    if words.len() > MAX_WORDS {
        return Err(format!("it has more than {MAX_WORDS} parts"));
    }
    if let Some(word) = words.iter().find(|word| word.is_empty() || word.len() > MAX_WORD) {
        return Err(if word.is_empty() {
            "a part of its name is empty".to_owned()
        } else {
            format!("a part of its name is longer than {MAX_WORD} bytes")
        });
    }
    let mut steps = Vec::new();
    let kind = walk(&Kind::Section("Configuration", false), words, &mut steps)?;
    let value = kind.value(text)?;
    let Some((Step::Field(first), rest)) = steps.split_first() else {
        return Err("it needs a field below it".to_owned());
    };
    set(tree.entry(first.clone()).or_insert(Value::Null), rest, value);
    Ok(())
}

/// One step on the way from the root to a value.
enum Step {
    Field(String),
    Place(usize),
}

/// The kind of what `words` lead to, and the steps to it.
fn walk(kind: &Kind, words: &[&str], steps: &mut Vec<Step>) -> Result<Kind, String> {
    let Some((word, rest)) = words.split_first() else { return Ok(kind.clone()) };
    let (name, place) = match word.split_once('[') {
        Some((name, place)) => {
            let place = place.strip_suffix(']').and_then(|place| place.parse::<usize>().ok());
            let place = place.filter(|place| *place < MAX_INDEX);
            (name, Some(place.ok_or_else(|| format!("`{word}` is no place in a list (0 to {})", MAX_INDEX - 1))?))
        }
        None => (*word, None),
    };
    let (spelt, next) = match kind {
        Kind::Section(section, _) => {
            let field = TABLE.get(section).and_then(|fields| fields.get(&name.to_ascii_lowercase()));
            let (spelt, kind) = field.ok_or_else(|| format!("Traefik has no field `{name}` there"))?;
            (*spelt, kind.clone())
        }
        Kind::Named(_) if name.contains('@') => {
            return Err("a name must not contain `@`, which names a provider".to_owned());
        }
        Kind::Named(inner) => (name, (**inner).clone()),
        Kind::Anything => (name, Kind::Anything),
        _ => return Err(format!("Traefik has no field `{name}` there")),
    };
    if spelt.is_empty() {
        return Err("a part of its name is empty".to_owned());
    }
    steps.push(Step::Field(spelt.to_owned()));
    let next = match (place, next) {
        (None, next) => next,
        (Some(place), Kind::List(inner)) => {
            steps.push(Step::Place(place));
            *inner
        }
        (Some(place), next @ (Kind::Texts | Kind::Anything)) => {
            steps.push(Step::Place(place));
            if next == Kind::Texts { Kind::Text } else { next }
        }
        (Some(_), _) => return Err(format!("`{name}` is no list")),
    };
    walk(&next, rest, steps)
}

fn set(at: &mut Value, steps: &[Step], value: Value) {
    match steps.split_first() {
        // `tls=true` beside `tls.certresolver=x`: the fields say more.
        None if at.is_object() || (at.is_array() && !value.is_array()) => {}
        None => *at = value,
        Some((Step::Field(name), rest)) => {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            if let Some(map) = at.as_object_mut() {
                set(map.entry(name.clone()).or_insert(Value::Null), rest, value);
            }
        }
        Some((Step::Place(place), rest)) => {
            if !at.is_array() {
                *at = Value::Array(Vec::new());
            }
            if let Some(list) = at.as_array_mut() {
                list.resize(list.len().max(place + 1), Value::Null);
                if let Some(at) = list.get_mut(*place) {
                    set(at, rest, value);
                }
            }
        }
    }
}

/// Takes the gaps out of lists, as Traefik does with labels: it refuses a configuration that has some.
pub(super) fn close_gaps(value: &mut Value) {
    match value {
        Value::Array(list) => {
            list.retain(|one| !one.is_null());
            list.iter_mut().for_each(close_gaps);
        }
        Value::Object(map) => map.values_mut().for_each(close_gaps),
        _ => {}
    }
}

/// Source: Go `strconv.ParseBool`.
fn is_bool(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "TRUE" | "true" | "True" | "0" | "f" | "F" | "FALSE" | "false" | "False")
}

/// Source: Go `time.ParseDuration`: `1h30m`, `1.5s`, `-2us`; less than 292 years.
fn is_time(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut seconds = 0.0;
    let mut any = false;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let Ok(number) = number.parse::<f64>() else { return false };
        let units = [
            ("ns", 1e-9),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("μs", 1e-6),
            ("ms", 1e-3),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
        ];
        let Some((unit, scale)) = units.into_iter().find(|(unit, _)| after.starts_with(unit)) else { return false };
        seconds += number * scale;
        rest = after.get(unit.len()..).unwrap_or_default();
        any = true;
    }
    any && seconds < 9.2e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn all(labels: &[(&str, &str)]) -> Result<Value, String> {
        let mut tree = Map::new();
        for (key, value) in labels {
            put(&mut tree, &key.split('.').collect::<Vec<_>>(), value)?;
        }
        let mut tree = Value::Object(tree);
        close_gaps(&mut tree);
        Ok(tree)
    }

    #[test]
    fn labels_are_read_by_traefiks_types_and_spelling() {
        let made = all(&[
            ("http.ROUTERS.Shop.entrypoints", "web, websecure"),
            ("http.routers.Shop.tls", "true"),
            ("http.routers.Shop.tls.certresolver", "le"),
            ("http.routers.Shop.tls.domains[7].main", "a.example"),
            ("http.routers.Shop.tls.domains[3].sans", "b.example,c.example"),
            ("http.routers.Shop.priority", "12"),
            ("http.middlewares.m.retry.initialinterval", "1.5s"),
            ("http.middlewares.h.headers.customresponseheaders.X-Any", ""),
            ("http.middlewares.c.compress", "true"),
            ("http.middlewares.p.plugin.mine.deep.list[1].a", "b"),
            ("http.middlewares.s.stripprefix.prefixes[1]", "/b"),
        ]);
        let wanted = json!({"http": {
            "routers": {"Shop": {
                "entryPoints": ["web", "websecure"], "priority": "12",
                "tls": {"certResolver": "le", "domains": [{"sans": ["b.example", "c.example"]}, {"main": "a.example"}]},
            }},
            "middlewares": {
                "m": {"retry": {"initialInterval": "1.5s"}}, "h": {"headers": {"customResponseHeaders": {"X-Any": ""}}},
                "c": {"compress": "true"}, "p": {"plugin": {"mine": {"deep": {"list": [{"a": "b"}]}}}},
                "s": {"stripPrefix": {"prefixes": ["/b"]}},
            },
        }});
        assert_eq!(made, Ok(wanted));
    }

    #[test]
    fn what_traefik_would_refuse_the_whole_configuration_for_is_refused_here() {
        let long = format!("http.routers.{}.rule", "k".repeat(2000));
        let deep = format!("http.middlewares.m.plugin.p{}", ".a".repeat(100_000));
        for (key, value, why) in [
            ("http", "x", "field below"),
            ("http.routers", "foo", "a name and a field"),
            ("http.routers.x", "foo", "field below"),
            ("http.bogus.x", "1", "no field `bogus`"),
            ("http.routers.x.bogus", "1", "no field `bogus`"),
            ("http.routers.x.rule.more", "1", "no field `more`"),
            ("http.routers.x.priority", "1.5", "whole number"),
            ("http.routers.x.priority", "", "whole number"),
            ("http.routers.x.priority", "99999999999999999999", "whole number"),
            ("http.routers.x[0].rule", "a", "no list"),
            ("http.routers.a@docker.rule", "a", "`@`"),
            ("http.routers..rule", "a", "empty"),
            ("http.routers.x.tls.domains", "a", "a place"),
            ("http.routers.x.tls.domains[100].main", "a", "no place"),
            ("http.routers.x.tls.domains[-1].main", "a", "no place"),
            ("http.routers.x.tls.domains[0", "a", "no place"),
            ("http.middlewares.x.headers", "true", "field below"),
            ("http.middlewares.x.headers.framedeny", "maybe", "true or false"),
            ("http.middlewares.x.retry.initialinterval", "xx", "a time"),
            ("http.middlewares.x.retry.initialinterval", "99999999999h", "a time"),
            ("http.middlewares.x.plugin.p.a", "\u{2551}x", "U+2551"),
            ("http.middlewares.x.plugin.p.[0]", "x", "empty"),
            ("http.services.x.loadbalancer.server.port", "0", "a port"),
            ("http.services.x.loadbalancer.server.url", "http://a", "one address for all"),
            ("http.serverstransports.x.insecureskipverify", "true", "no field"),
            ("tls.certificates[0].certfile", "/etc/shadow", "no field"),
            ("udp.routers.x.rule", "a", "no field"),
            (&long, "x", "longer than"),
            (&deep, "x", "parts"),
        ] {
            let refused = all(&[(key, value)]).expect_err(key.get(..60).unwrap_or(key));
            assert!(refused.contains(why), "{key:.60}: {refused}");
        }
    }

    #[test]
    fn times_are_go_s() {
        for text in ["1h30m", "1.5s", "-2us", "3µs", "+0.5h", "0", ".5s", "1.s"] {
            assert!(is_time(text), "{text}");
        }
        for text in ["", "1", "s", "1d", "1 s", "1h-1m", "..s", "1e3s", "NaNs", "infs"] {
            assert!(!is_time(text), "{text}");
        }
    }

    #[test]
    fn the_table_names_only_what_it_has() {
        let known = |kind: &Kind| {
            let mut kind = kind;
            loop {
                match kind {
                    Kind::Named(inner) | Kind::List(inner) => kind = inner,
                    Kind::Section(name, _) => return TABLE.contains_key(name),
                    _ => return true,
                }
            }
        };
        for (section, fields) in TABLE.iter() {
            for (name, (_, kind)) in fields {
                assert!(known(kind), "{section}.{name}: {kind:?}");
            }
        }
        assert!(TABLE.len() > 50, "{}", TABLE.len());
    }
}
