//! No circle of files inside a crate: of two files one knows the other, not each the other. What a file knows is read off its
//! paths (`use`, `super::x`, `module::x`); names that a file only passes on (`pub use`) lead to where they are defined.

use std::collections::{BTreeMap, BTreeSet};

use super::{controller, sources};

/// The circles that there are, by their files, and why: none, since the core was opened. A new one fails the test; so does one
/// that is named here and open by now.
const KNOWN: [(&[&str], &str); 0] = [];

/// A module's path in its crate.
type Module = Vec<String>;

/// What the source of a file says, as far as it matters here.
#[derive(Default)]
struct Source {
    uses: Vec<Import>,
    /// Paths outside of `use`.
    paths: Vec<Vec<String>>,
    /// All names outside of `use`.
    names: BTreeSet<String>,
    /// What is defined in it.
    items: BTreeSet<String>,
}

struct Import {
    is_public: bool,
    /// `*` at its end for all of a module.
    path: Vec<String>,
    /// By which name it is known here.
    name: String,
}

/// The names and signs of a text, without comments, texts and characters.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let (mut found, mut i) = (Vec::new(), 0);
    while i < chars.len() {
        let c = chars[i];
        let is_raw = c == 'r' && (at(i + 1) == '"' || (at(i + 1) == '#' && matches!(at(i + 2), '"' | '#')));
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
        } else if is_raw {
            let marks = chars[i + 1..].iter().take_while(|c| **c == '#').count();
            let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', marks)).collect();
            i += marks + 2;
            while i < chars.len() && !chars[i..].starts_with(&end) {
                i += 1;
            }
            i += end.len();
        } else if c == '"' {
            i += 1;
            while i < chars.len() && chars[i] != '"' {
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if c == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            i += if at(i + 1) == '\\' { 3 } else { 2 };
            while i < chars.len() && chars[i] != '\'' {
                i += 1;
            }
            i += 1;
        } else if c.is_alphanumeric() || c == '_' {
            let start = i;
            while at(i).is_alphanumeric() || at(i) == '_' {
                i += 1;
            }
            found.push(chars[start..i].iter().collect());
        } else if c == ':' && at(i + 1) == ':' {
            found.push("::".to_owned());
            i += 2;
        } else {
            if !c.is_whitespace() {
                found.push(c.to_string());
            }
            i += 1;
        }
    }
    found
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

impl Source {
    fn of(text: &str) -> Self {
        let tokens = tokens(text.split("#[cfg(test)]\n").next().unwrap_or_default());
        let token = |i: usize| tokens.get(i).map_or("", String::as_str);
        let (mut source, mut i) = (Self::default(), 0);
        while i < tokens.len() {
            let before = i.checked_sub(1).map_or(";", token);
            if token(i) == "use" && token(i + 1) != "<" && matches!(before, ";" | "}" | "{" | "]" | "pub" | ")") {
                let is_public = matches!(before, "pub" | ")");
                i += 1;
                source.import(&tokens, &mut i, &[], is_public);
                continue;
            }
            if matches!(token(i), "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union") {
                source.items.insert(token(i + 1).to_owned());
            }
            if !is_name(token(i)) || matches!(before, "::" | "mod") {
                i += 1;
                continue;
            }
            let mut path = vec![token(i).to_owned()];
            while token(i + 1) == "::" && is_name(token(i + 2)) {
                path.push(token(i + 2).to_owned());
                i += 2;
            }
            source.names.insert(path[0].clone());
            if path.len() > 1 {
                source.paths.push(path);
            }
            i += 1;
        }
        source
    }

    /// One branch of a `use`, from its first name on; ends behind it.
    fn import(&mut self, tokens: &[String], i: &mut usize, above: &[String], is_public: bool) {
        let mut path = above.to_vec();
        loop {
            let token = tokens.get(*i).map_or(";", String::as_str);
            *i += 1;
            match token {
                "::" => {}
                "{" => {
                    while tokens.get(*i).is_some_and(|token| token != "}") {
                        self.import(tokens, i, &path, is_public);
                        if tokens.get(*i).is_some_and(|token| token == ",") {
                            *i += 1;
                        }
                    }
                    *i += 1;
                    return;
                }
                "," | "}" | ";" => {
                    *i -= usize::from(token != ";");
                    break;
                }
                "as" => {
                    let name = tokens.get(*i).cloned().unwrap_or_default();
                    *i += 1;
                    self.uses.push(Import { is_public, path, name });
                    return;
                }
                name => path.push(name.to_owned()),
            }
        }
        // `a::{self}` is `a`.
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let name = path.last().cloned().unwrap_or_default();
        self.uses.push(Import { is_public, path, name });
    }
}

/// The files of a crate, by their modules.
struct Crate {
    places: BTreeMap<Module, String>,
    sources: BTreeMap<Module, Source>,
}

impl Crate {
    /// `root` is its `src`, below `controller/`.
    fn read(root: &str) -> Self {
        let dir = controller().join(root);
        let mut files = Vec::new();
        sources(&dir, &mut files);
        let mut all = Self { places: BTreeMap::new(), sources: BTreeMap::new() };
        for file in files {
            let place = file.strip_prefix(&dir).unwrap().to_string_lossy().into_owned();
            let mut module: Module = place.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            let last = module.last().unwrap().as_str();
            // Tests know what they test; a program of its own is another crate.
            if last.ends_with("tests") || module.iter().any(|part| part == "tests" || part == "bin" || part == "main") {
                continue;
            }
            if matches!(last, "mod" | "lib") {
                module.pop();
            }
            all.sources.insert(module.clone(), Source::of(&std::fs::read_to_string(&file).unwrap()));
            all.places.insert(module, format!("{root}/{place}"));
        }
        all
    }

    /// A path as seen from a module, from the root of the crate on; nothing if it leads out of it.
    fn absolute(&self, from: &Module, path: &[String]) -> Option<Vec<String>> {
        let mut above = from.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => return Some(path[1..].to_vec()),
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|part| part == "super") {
                    above.pop()?;
                    rest = &rest[1..];
                }
            }
            name => {
                above.push(name.to_owned());
                if !self.sources.contains_key(&above) {
                    let is_it = |import: &&Import| {
                        import.name == name && import.path.first().is_some_and(|first| first != name)
                    };
                    let import = self.sources[from].uses.iter().find(is_it)?;
                    above = self.absolute(from, &import.path)?;
                }
                rest = &path[1..];
            }
        }
        Some(above.into_iter().chain(rest.iter().cloned()).collect())
    }

    /// The module in which a path ends, and the first name in it that is no module.
    fn split<'p>(&self, path: &'p [String]) -> (Module, Option<&'p String>) {
        let ends = (0..=path.len()).rev().find(|end| self.sources.contains_key(&path[..*end])).unwrap_or(0);
        (path[..ends].to_vec(), path.get(ends))
    }

    /// The module that defines what a path names, whoever passes it on.
    fn definer(&self, path: &[String]) -> Option<Module> {
        const MOST: usize = 8;
        let mut path = path.to_vec();
        for _ in 0..MOST {
            let (module, name) = self.split(&path);
            let name = name?;
            let source = &self.sources[&module];
            let passed = |import: &&Import| import.is_public && import.name == *name;
            match source.uses.iter().find(passed).filter(|_| !source.items.contains(name)) {
                Some(import) => {
                    let after = path[module.len() + 1..].to_vec();
                    path = self.absolute(&module, &import.path)?;
                    path.extend(after);
                }
                None => return Some(module),
            }
        }
        None
    }

    /// Which modules each module knows.
    fn known(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let of = |(module, source): (&Module, &Source)| {
            let passes_on = |import: &&Import| import.is_public && !source.names.contains(&import.name);
            let imports = source.uses.iter().filter(|import| !passes_on(import)).map(|import| &import.path);
            let all = imports.chain(&source.paths).filter_map(|path| self.definer(&self.absolute(module, path)?));
            all.filter(|other| other != module).collect()
        };
        self.sources.iter().map(|one| (one.0, of(one))).collect()
    }

    /// The circles: files of which each can be reached from each other.
    fn circles(&self) -> Vec<BTreeSet<&str>> {
        let known = self.known();
        let reach = |from: &Module| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(module) = next.pop() {
                next.extend(known[&module].iter().filter(|other| seen.insert((*other).clone())).cloned());
            }
            seen
        };
        let reached: BTreeMap<&Module, BTreeSet<Module>> =
            known.keys().map(|module| (*module, reach(module))).collect();
        let mut circles: Vec<BTreeSet<&str>> = Vec::new();
        for (module, others) in reached.iter().filter(|(module, others)| others.contains(**module)) {
            let back = others.iter().filter(|other| reached[other].contains(*module));
            let circle: BTreeSet<_> = back.map(|other| self.places[other].as_str()).collect();
            if !circles.contains(&circle) {
                circles.push(circle);
            }
        }
        circles
    }
}

#[test]
fn files_know_each_other_one_way() {
    let rooms = super::ROOMS.map(|(room, _)| if room.is_empty() { "src".to_owned() } else { format!("{room}/src") });
    let crates = rooms.into_iter().chain(["../crd-schema/src".to_owned(), "../e2e/src".to_owned()]);
    let crates: Vec<_> = crates.map(|root| Crate::read(&root)).collect();
    let edges: usize = crates.iter().map(|one| one.known().values().map(BTreeSet::len).sum::<usize>()).sum();
    assert!(edges > 500, "{edges}: hardly any path is understood");
    let found: Vec<_> = crates.iter().flat_map(Crate::circles).collect();
    let within = |circle: &BTreeSet<&str>, files: &[&str]| circle.iter().all(|file| files.contains(file));
    let new = found.iter().filter(|circle| !KNOWN.iter().any(|(files, _)| within(circle, files)));
    let new: Vec<_> = new.map(|circle| circle.iter().copied().collect::<Vec<_>>().join("\n  ")).collect();
    assert!(new.is_empty(), "circles of files:\n  {}", new.join("\n\n  "));
    for (files, why) in KNOWN {
        assert!(found.iter().any(|circle| within(circle, files)), "{files:?} is no circle any more ({why})");
    }
}

#[test]
fn paths_are_read_as_the_compiler_reads_them() {
    let text = "pub use self::a::{self, B as C, d::{E, *}};\npub(super) use super::f::G;\n// use x::y;\n\
                fn h<'a>(i: &'a str) -> impl Iterator<Item = j::K> + use<'a> { let c = '\"'; m::n(\"use o::p;\", r#\"q\"r::s\"#) }";
    let source = Source::of(text);
    let shown: Vec<_> =
        source.uses.iter().map(|one| format!("{} {} {}", one.is_public, one.path.join("::"), one.name)).collect();
    let expected =
        ["true self::a a", "true self::a::B C", "true self::a::d::E E", "true self::a::d::* *", "true super::f::G G"];
    assert_eq!(shown, expected);
    assert_eq!(source.paths, [vec!["j", "K"], vec!["m", "n"]]);
    assert!(source.items.contains("h"));
}
