//! Compose files: read, filled in, merged and turned into the same objects that our own documents are. No I/O of its
//! own: files come through [`Files`], variables are the project's own, and nothing of this process's environment is
//! looked at. Source: the [Compose specification](https://compose-spec.io); where it leaves something open, compose-go.

mod built;
mod canonical;
mod cast;
mod check;
mod deploy;
pub mod dotenv;
mod environment;
mod extends;
mod home;
mod include;
mod interpolate;
pub mod keys;
mod merge;
mod model;
mod mounted;
mod names;
mod origin;
mod path;
mod project;
mod service;
mod sources;
mod tree;
mod unique;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::yaml::{Node, Place, Problem, size_of_text};
use crate::{Diagnostic, Object};
use model::{Loader, Model};
pub use names::is_project_name;
pub use origin::Origin;
pub use sources::Files;
use sources::{MAX_PROBLEMS, Sources};

/// The names a Compose file may have, the first one wins. Source: compose-spec 03-compose-file.
pub const FILE_NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// The names of a file that is merged over it if it is there, the first one wins.
pub const OVERRIDE_NAMES: [&str; 4] =
    ["compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml"];

/// What is asked for. All paths are relative to the project directory, or absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The Compose files, each merged over those before it.
    pub files: Vec<String>,
    /// Somebody named these files. If not, and `.env` names others in `COMPOSE_FILE`, they are taken instead.
    pub named: bool,
    /// The project directory as messages name it, such as `shop`; empty for here.
    pub shown: String,
    /// The name of the project directory, after which a project without a name is called.
    pub directory: String,
    /// The project directory in full as the engine's host has it: `$PWD`. None: nobody knows.
    pub path: Option<String>,
    /// The home directory of whoever asks, where somebody in particular does: `~`, and `$HOME` where nothing else says it.
    pub home: Option<String>,
    /// The project's name, before any that the files have.
    pub name: Option<String>,
    /// The active profiles; `*` is all of them. None: those of `COMPOSE_PROFILES` in the variables.
    pub profiles: Vec<String>,
    /// Files of variables, the last one wins. None: `.env`, if it is there.
    pub env_files: Vec<String>,
    /// Variables that win over those of files.
    pub variables: BTreeMap<String, String>,
}

/// One object of a project, and where it is described.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// The object, normalised and validated. Relative bind mounts are relative to the project directory.
    pub object: Object,
    /// The file, as messages name it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// Where its parts are written.
    pub origin: Origin,
}

/// What a project's files say.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The Project, then its active services by name.
    pub objects: Vec<Located>,
    /// What is no error and yet hardly meant: variables that are not set.
    pub notes: Vec<Diagnostic>,
    /// The profiles that its services have, active or not.
    pub profiles: BTreeSet<String>,
    /// How much it is: its values, with what `extends`, files of variables and short forms make of them. Each 64 bytes of a
    /// text count as one.
    pub values: usize,
}

/// Whether a text looks like a Compose file rather than like our own documents: it has `services` or `include` at its
/// top, and no `apiVersion`.
pub fn is_compose(text: &str) -> bool {
    let top = |word: &str| {
        text.lines().any(|line| line.strip_prefix(word).is_some_and(|rest| rest.trim_start().starts_with(':')))
    };
    !top("apiVersion") && (top("services") || top("include"))
}

/// Reads a project.
///
/// Never panics, and refuses hostile files (too large, too deep, too many, too much by alias, variable or `extends`)
/// within a second and 100 MB.
///
/// # Errors
/// Everything that is wrong, each at its place in its file. No object is returned then.
pub fn load(request: &Request, files: &mut dyn Files) -> Result<Loaded, Vec<Diagnostic>> {
    let main = request.files.first().map(String::as_str).unwrap_or_default();
    let sources = Sources::new(files, &request.shown, main);
    let mut loader = Loader {
        sources,
        unset: BTreeMap::new(),
        lost: BTreeMap::new(),
        built: Vec::new(),
        set_at: BTreeMap::new(),
        including: Vec::new(),
    };
    match read(request, &mut loader) {
        Ok((objects, profiles)) => {
            let note = |(name, place): (&String, &Place)| {
                let message = format!("the variable `{name}` is not set: it is empty");
                let help =
                    format!("set it in `.env` or with --env {name}=..., or write `${{{name}:-}}` if that is meant");
                Problem::new(*place, message, Some(help.into()))
            };
            let notes = loader.unset.iter().map(note).chain(built::note(&loader.built)).collect();
            let values = loader.sources.values();
            Ok(Loaded { objects, notes: loader.sources.diagnostics(notes), profiles, values })
        }
        Err(mut problems) => {
            // A second one at the same place is a consequence of the first.
            let mut places = HashSet::new();
            problems.retain(|Problem { place, .. }| places.insert((place.file, place.line, place.column)));
            Err(loader.sources.diagnostics(problems))
        }
    }
}

/// The objects, and the profiles that there are.
type Read = (Vec<Located>, BTreeSet<String>);

fn read(request: &Request, loader: &mut Loader<'_>) -> Result<Read, Vec<Problem>> {
    let at =
        |paths: &[String], place: Place| paths.iter().map(|path| (path::join(".", path), place)).collect::<Vec<_>>();
    let here = |paths: &[String]| at(paths, Place::START);
    let mut variables = if request.env_files.is_empty() {
        loader.default_variables(".", Place::START, &request.variables)?
    } else {
        loader.variables(&here(&request.env_files), &request.variables)?
    };
    for (name, value) in [("PWD", &request.path), ("HOME", &request.home)] {
        if let Some(value) = value {
            variables.entry(name.to_owned()).or_insert_with(|| value.clone());
        }
    }
    let set_at = loader.set_at(names::COMPOSE_FILE);
    let files = match names::compose_file(&variables, set_at).filter(|_| !request.named) {
        Some(files) => at(&files?, set_at),
        None => here(&request.files),
    };
    let documents = loader.documents(&files)?;
    let name = loader.project_name(request.name.as_deref(), &variables, &documents, &request.directory)?;
    variables.insert("COMPOSE_PROJECT_NAME".to_owned(), name.clone());
    let active = names::profiles(&request.profiles, &variables);
    loader.including.extend(files.iter().map(|(path, _)| path.clone()));
    let mut model = Model::new(".".to_owned(), variables);
    let tree = loader.tree(documents, &mut model)?;
    let dir = request.path.as_deref();
    let services = tree.get("services").map(|(_, services)| tree::entries(services)).unwrap_or_default();
    let profiles = names::known_profiles(services);
    Ok((objects(loader, &model, (&name, dir), &tree, &active)?, profiles))
}

fn objects(
    loader: &mut Loader<'_>,
    model: &Model,
    (name, dir): (&str, Option<&str>),
    tree: &Node,
    active: &BTreeSet<String>,
) -> Result<Vec<Located>, Vec<Problem>> {
    let all = tree.get("services").map(|(_, services)| tree::entries(services)).unwrap_or_default();
    let off = |service: &&(Node, Node)| !names::is_active(&service.1, active);
    let inactive: BTreeSet<String> =
        all.iter().filter(off).filter_map(|(key, _)| key.text().map(str::to_owned)).collect();
    let mut problems = check::check(tree, &|name| inactive.contains(name));
    if all.is_empty() && problems.is_empty() {
        let message = "the project has no services".to_owned();
        let help = "write `services: {web: {image: ...}}`";
        return Err(vec![Problem::new(tree.first(), message, Some(help.into()))]);
    }
    let sections = ["networks", "volumes", "configs", "secrets"].iter().filter_map(|section| tree.get(section));
    let used = all.iter().filter(|service| !off(service)).map(|(_, service)| service).chain(sections.map(|(_, it)| it));
    problems.splice(0..0, used.flat_map(|node| loader.lost_in(node)));
    let is_there = |other: &str| !inactive.contains(other) && all.iter().any(|(key, _)| key.text() == Some(other));
    let mut services = Vec::new();
    let mut origins = Vec::new();
    for (key, service) in all.iter().filter(|service| !off(service)) {
        if problems.len() >= MAX_PROBLEMS {
            break;
        }
        // What else is wrong with it may be for want of the variable.
        if !loader.lost_in(service).is_empty() {
            continue;
        }
        let mut service = service.clone();
        if let Some((build, _)) = service.get("build") {
            loader.built.push((key.text().unwrap_or_default().to_owned(), build.place));
        }
        let read = loader.environment(&mut service, &model.variables);
        let read = read.and_then(|env_files| loader.labels(&mut service).map(|()| env_files));
        let read = read.and_then(|env_files| {
            let (read, written) = service::read(name, key, service.clone(), tree, &model.variables, &is_there)?;
            // Each service has a copy of its configs and secrets.
            let files = read.spec.files.iter().map(|file| size_of_text(&file.content)).sum();
            loader.sources.count(files, key.place).map_err(|problem| vec![problem])?;
            Ok((read, loader.origin(&written, env_files)))
        });
        match read {
            Ok((read, origin)) => {
                services.push((key.clone(), service, read));
                origins.push(origin);
            }
            Err(more) => problems.extend(more),
        }
    }
    let project = project::read(name, tree, dir).map_err(|more| problems.extend(more)).ok();
    problems.extend(project::consistent(&services, tree, &inactive));
    let (Some((project, written)), true) = (project, problems.is_empty()) else { return Err(problems) };
    let located = |place: Place, object, origin| {
        let file = loader.sources.file_of(place);
        Located { object, file, line: place.line, origin }
    };
    let mut services: Vec<_> = services.into_iter().zip(origins).collect();
    services.sort_by(|((a, ..), _), ((b, ..), _)| a.text().cmp(&b.text()));
    let services =
        services.into_iter().map(|((key, _, service), origin)| located(key.place, Object::Service(service), origin));
    let project = located(tree.first(), Object::Project(project), loader.origin(&written, Vec::new()));
    Ok([project].into_iter().chain(services).collect())
}
