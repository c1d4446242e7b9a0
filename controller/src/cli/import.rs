//! `composed import`: a Compose project as service files, that come to the very same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use composed_core::model::ServiceName;
use composed_platform::files::{self, Mode};
use composed_source::catalog::Catalog;
use composed_source::compose::{loaded, plain};
use composed_source::env_file::EnvFiles;
use composed_source::files::{Reading, Source};
use crd_schema::compose::{FILE_NAMES, Loaded, Located, OVERRIDE_NAMES};
use crd_schema::{EnvFile, MountKind, Object, Project, Service};

use super::args::{Common, Import};
use super::places;
use super::session::{CONVERGED, INVALID, fail, print_err, print_out, say_notes};
use super::yaml;

/// A file that is to be written.
struct OutputFile {
    name: String,
    text: String,
    /// Nobody but its owner may read it.
    secret: bool,
}

/// Writes the service files of a Compose project.
pub fn import(args: &Import, common: &Common) -> anyhow::Result<ExitCode> {
    if let Err(why) = places::named(args.path.as_deref(), &args.compose) {
        return Ok(fail(INVALID, &why));
    }
    let source = places::documents(args.path.as_deref(), &args.compose, common);
    let reading = source.read();
    let catalog = Catalog::new(&reading, &Catalog::empty(false));
    say_notes(&catalog);
    if !catalog.problems.is_empty() {
        return Ok(fail(INVALID, &catalog.problems.join("\n\n")));
    }
    let projects = loaded(&reading);
    let (main, project) = match projects.as_slice() {
        [(main, Ok(project))] => (main, project),
        [] => return Ok(fail(INVALID, &format!("there is no Compose file in {}", source.path.display()))),
        [(_, Err(why))] => return Ok(fail(INVALID, why)),
        several => {
            let names: Vec<_> = several.iter().map(|(main, _)| main.as_str()).collect();
            let why = format!("several Compose projects are there: give the path of one of {}", names.join(", "));
            return Ok(fail(INVALID, &why));
        }
    };
    let out = std::path::absolute(&args.out)?;
    let (files, clear) = match written(&reading, main, project, &out) {
        Ok(written) => written,
        Err(why) => return Ok(fail(INVALID, &why)),
    };
    let there: Vec<_> =
        files.iter().map(|file| out.join(&file.name)).filter(|path| path.symlink_metadata().is_ok()).collect();
    if !there.is_empty() && !args.force {
        let there: Vec<_> = there.iter().map(|path| path.display().to_string()).collect();
        let why = format!("{} exists already: nothing was written; --force overwrites", there.join(", "));
        return Ok(fail(INVALID, &why));
    }
    // What is read is never written over.
    let read: BTreeSet<PathBuf> =
        reading.env_files.keys().map(|path| full(path)).chain([full(&reading.root.join(main))]).collect();
    if let Some(path) = files.iter().map(|file| full(&out.join(&file.name))).find(|path| read.contains(path)) {
        let why = format!("{} is a file of the project itself: choose another --out", path.display());
        return Ok(fail(INVALID, &why));
    }
    std::fs::create_dir_all(&out)?;
    for file in &files {
        let mode = if file.secret { Mode::Private } else { Mode::Public };
        files::replace_with_mode(&out.join(&file.name), file.text.as_bytes(), mode, false)?;
        print_out(&format!("{}", args.out.join(&file.name).display()));
    }
    for line in clear {
        print_err(&format!("note: {line}"));
    }
    let mut again = Source::from(out.as_path());
    again.compose.allowed = args.compose.allowed.iter().cloned().chain([full(&reading.dir(main))]).collect();
    let again = again.read();
    let elsewhere: BTreeSet<PathBuf> = again.env_files.keys().map(|path| full(path)).collect();
    let elsewhere = elsewhere.iter().filter(|path| !path.starts_with(&out)).filter_map(|path| path.parent());
    for dir in elsewhere.collect::<BTreeSet<_>>() {
        print_err(&format!(
            "note: environment files stay in {dir}: use the new files with `--allow {dir}`",
            dir = dir.display()
        ));
    }
    let differ = differences(&catalog, &again);
    if !differ.is_empty() {
        let why = format!(
            "the written files differ from the Compose file; this is a bug in composed, please report it: {}",
            differ.join("; ")
        );
        return Ok(fail(INVALID, &why));
    }
    Ok(ExitCode::from(CONVERGED))
}

fn full(path: &Path) -> PathBuf {
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| plain(&path))
}

/// The services of a catalog that do not come out of a reading as they are.
fn differences(catalog: &Catalog, reading: &Reading) -> Vec<String> {
    let again = Catalog::new(reading, &Catalog::empty(false));
    let mut found: Vec<String> = again.problems.clone();
    for name in catalog.names() {
        let revision = |catalog: &Catalog| catalog.service(name).map(|service| service.revision.clone());
        let (before, after) = (revision(catalog), revision(&again));
        if before != after && found.is_empty() {
            found.push(format!("{name} is revision {after:?} in place of {before:?}"));
        }
        if catalog.project(&name.project) != again.project(&name.project) {
            found.push(format!("the networks or volumes of project {} differ", name.project));
        }
    }
    found
}

/// The files, and what of variables is written in clear.
fn written(
    reading: &Reading,
    main: &str,
    project: &Loaded,
    out: &Path,
) -> Result<(Vec<OutputFile>, Vec<String>), String> {
    let dir = reading.dir(main);
    let to_project = relative(out, &full(if dir.as_os_str().is_empty() { Path::new(".") } else { &dir }));
    let mut files = Vec::new();
    let mut clear = Vec::new();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for located in &project.objects {
        match &located.object {
            Object::Project(own) if own.spec == crd_schema::ProjectSpec::default() => {}
            Object::Project(own) => {
                let name = name_of("project", &mut taken);
                files.push(OutputFile { text: of_project(own, located, &name, &mut clear), name, secret: false });
            }
            Object::Service(service) => {
                let name = name_of(&service.metadata.name, &mut taken);
                let variables = name.replace(".yaml", ".env");
                let parts = Parts { reading, dir: &dir, to_project: &to_project, located, variables: &variables };
                let (text, secrets) = parts.of_service(service, &name, &mut clear)?;
                // Configs and secrets stand in it.
                let secret = !service.spec.files.is_empty();
                files.push(OutputFile { name, text, secret });
                files.extend(secrets.map(|text| OutputFile { name: variables.clone(), text, secret: true }));
            }
        }
    }
    Ok((files, clear))
}

/// The file of a service: its name, but for names that mean something else.
fn name_of(service: &str, taken: &mut BTreeSet<String>) -> String {
    let mut stem = service.to_owned();
    loop {
        let name = format!("{stem}.yaml");
        let means = FILE_NAMES.contains(&name.as_str()) || OVERRIDE_NAMES.contains(&name.as_str());
        if !means && taken.insert(name.clone()) {
            return name;
        }
        stem.push_str("-service");
    }
}

fn of_project(project: &Project, located: &Located, file: &str, clear: &mut Vec<String>) -> String {
    let name = &project.metadata.name;
    let head = format!("# What the services of project {name} share, imported from {}.\n", located.file);
    let parts = filled(located, &BTreeSet::new());
    clear.extend(parts.iter().map(|part| format!("{file}: {part}")));
    head + &in_clear(&parts) + &yaml::document(project, &located.origin.places)
}

/// The parts that were made of variables and are written as they came out, but for those that are left out.
fn filled(located: &Located, but: &BTreeSet<String>) -> Vec<String> {
    let origin = &located.origin;
    // A part of a part that is told is not told again.
    let whole = |part: &str| {
        part.split_once('.').is_some_and(|(key, _)| !matches!(key, "environment" | "labels" | "networks" | "volumes"))
    };
    let outer = |part: &str| {
        !part.contains('.')
            && origin.templates.keys().any(|other| other.starts_with(&format!("{part}.")) && !whole(other))
    };
    let told = origin.templates.iter().filter(|(part, _)| !but.contains(*part) && !whole(part) && !outer(part));
    let line = |(part, templates): (&String, &Vec<String>)| {
        let place = origin.places.get(part).map(String::as_str).unwrap_or_default();
        let templates: Vec<_> = templates.iter().map(|template| format!("`{}`", template.escape_debug())).collect();
        format!("{part} is written in clear, made of {} ({place})", templates.join(", "))
    };
    told.map(line).collect()
}

fn in_clear(parts: &[String]) -> String {
    parts.iter().map(|part| format!("# {part}\n")).collect()
}

/// What a service file is made of.
struct Parts<'a> {
    reading: &'a Reading,
    /// The project directory.
    dir: &'a Path,
    /// The same, as seen from where the file will be.
    to_project: &'a Path,
    located: &'a Located,
    /// The name of the file of its variables.
    variables: &'a str,
}

impl Parts<'_> {
    /// The file, and that of its variables if it needs one.
    fn of_service(
        &self,
        service: &Service,
        file: &str,
        clear: &mut Vec<String>,
    ) -> Result<(String, Option<String>), String> {
        let mut service = service.clone();
        let spec = &mut service.spec;
        for mount in spec.volumes.iter_mut().filter(|mount| mount.kind == MountKind::Bind) {
            if let Some(source) = mount.source.as_mut().filter(|source| !source.starts_with('/')) {
                *source = self.seen(source)?;
            }
        }
        // Files of variables stay where they are, if a service document comes to the same with them.
        let mut split = self.split(&spec.environment.0, BTreeMap::new());
        if let Some(read) = self.env_files(&BTreeMap::new())
            && read.keys().all(|name| spec.environment.0.contains_key(name))
        {
            let with_files = self.split(&spec.environment.0, read);
            // Values of the files may use what stays in the document.
            let read = self.env_files(&with_files.in_document).unwrap_or_default();
            if with_files.in_files.iter().all(|(name, value)| read.get(name) == Some(value)) {
                split = with_files;
                for env_file in &self.located.origin.env_files {
                    spec.env_file.push(EnvFile { path: self.seen(&env_file.path)?, ..env_file.clone() });
                }
            }
        }
        let Split { in_document, lines, mut kept, .. } = split;
        spec.environment.0 = in_document;
        let named: Vec<_> = self.located.origin.env_files.iter().map(|env_file| env_file.path.as_str()).collect();
        let mut head = format!(
            "# Service {} of project {}, imported from {}:{}.\n",
            service.metadata.name, service.metadata.project, self.located.file, self.located.line
        );
        if !named.is_empty() && spec.env_file.is_empty() {
            let what = format!(
                "environment has in clear text the values of {}: a service document would read them differently",
                named.join(", ")
            );
            head += &format!("# {what}\n");
            clear.push(format!("{file}: {what}"));
        }
        if !lines.is_empty() {
            spec.env_file.push(EnvFile { path: self.variables.to_owned(), required: true, format: None });
            head += &format!(
                "# Values of variables in its environment are in {}, readable by its owner only.\n",
                self.variables
            );
        }
        if !spec.files.is_empty() {
            let what =
                "files has in clear text the configs and secrets that are not files of the host; keep it private";
            head += &format!("# {what}\n");
            clear.push(format!("{file}: {what}"));
            kept.insert("files".to_owned());
        }
        let parts = filled(self.located, &kept);
        clear.extend(parts.iter().map(|part| format!("{file}: {part}")));
        head += &in_clear(&parts);
        let text = head + &yaml::document(&service, &self.located.origin.places);
        let name = ServiceName::new(&service.metadata.project, &service.metadata.name);
        match crd_schema::parse(file, &text) {
            Ok(parsed) if parsed.iter().map(|parsed| &parsed.object).eq([&Object::Service(service)]) => {}
            Ok(_) => {
                return Err(format!(
                    "{name} cannot be written as a service file; this is a bug in composed, please report it"
                ));
            }
            Err(problems) => {
                let each: Vec<_> = problems.iter().map(ToString::to_string).collect();
                return Err(format!("{name} cannot be written as a service file:\n{}", each.join("\n")));
            }
        }
        Ok((text, (!lines.is_empty()).then_some(lines)))
    }

    /// A path from the project directory, as seen from where the file will be.
    fn seen(&self, path: &str) -> Result<String, String> {
        if path.starts_with('/') {
            return Ok(path.to_owned());
        }
        let mut seen = PathBuf::new();
        for part in self.to_project.join(path).components() {
            match part {
                std::path::Component::CurDir => {}
                std::path::Component::ParentDir
                    if seen.components().next_back().is_some_and(|last| last != std::path::Component::ParentDir) =>
                {
                    seen.pop();
                }
                other => seen.push(other),
            }
        }
        let text = seen.to_str().ok_or_else(|| format!("the path {} is not UTF-8", seen.display()))?;
        Ok(if text.starts_with("..") { text.to_owned() } else { format!("./{text}") })
    }

    /// Where each variable of an environment is to stand, beside files of variables that set these.
    fn split(&self, environment: &BTreeMap<String, String>, mut in_files: BTreeMap<String, String>) -> Split {
        in_files.retain(|name, value| environment.get(name) == Some(value));
        let mut split = Split { in_files, ..Split::default() };
        for (name, value) in environment {
            let part = format!("environment.{name}");
            if split.in_files.contains_key(name) {
                split.kept.insert(part);
                continue;
            }
            // What variables gave to the environment goes into a file of its own.
            match self.located.origin.templates.get(&part).and_then(|_| line(name, value)) {
                Some(line) => {
                    split.lines += &line;
                    split.kept.insert(part);
                }
                None => drop(split.in_document.insert(name.clone(), value.clone())),
            }
        }
        split
    }

    /// What its files of variables say in a service document with this environment, as far as it does not say so itself;
    /// `None` if they cannot be read there.
    fn env_files(&self, environment: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
        let mut all = EnvFiles::new(environment);
        for env_file in &self.located.origin.env_files {
            match self.reading.env_files.get(&self.dir.join(&env_file.path)) {
                Some(Some(Ok(bytes))) => drop(all.read(env_file, std::str::from_utf8(bytes).ok()?).ok()?),
                Some(None) if !env_file.required => {}
                _ => return None,
            }
        }
        Some(all.variables)
    }
}

/// The environment of a service, by where each variable will stand.
#[derive(Default)]
struct Split {
    /// In the files of variables that the Compose file names.
    in_files: BTreeMap<String, String>,
    /// In `environment` of the document.
    in_document: BTreeMap<String, String>,
    /// The lines of a file of its own.
    lines: String,
    /// The parts that are not written in clear.
    kept: BTreeSet<String>,
}

/// A line of a file of variables that is read as this value; `None` if there is none.
fn line(name: &str, value: &str) -> Option<String> {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
    let escaped = escaped.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
    let mut lines = [format!("{name}='{value}'\n"), format!("{name}=\"{escaped}\"\n")].into_iter();
    lines.find(|line| {
        let (environment, file) = (BTreeMap::new(), EnvFile { path: String::new(), required: true, format: None });
        let mut read = EnvFiles::new(&environment);
        let one_line = line.matches(['\n', '\r']).count() == 1;
        one_line && read.read(&file, line).is_ok() && read.variables == [(name.to_owned(), value.to_owned())].into()
    })
}

/// The way from one directory to another; both in full.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let parts = |path: &Path| plain(path).components().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>();
    let (from, to) = (parts(from), parts(to));
    let same = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..".into(), from.len() - same);
    up.chain(to.into_iter().skip(same)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_between_directories() {
        for (from, to, way) in [
            ("/srv/shop/out", "/srv/shop", ".."),
            ("/srv/shop", "/srv/shop", ""),
            ("/srv/out", "/srv/shop/./x/../y", "../shop/y"),
            ("/", "/srv", "srv"),
        ] {
            assert_eq!(relative(Path::new(from), Path::new(to)), PathBuf::from(way), "{from} {to}");
        }
    }

    #[test]
    fn a_line_says_its_value_or_there_is_none() {
        for value in
            ["", "plain", "two words # no note", "it's", "a\nb\t\"c\"\\", "$X", "${X}", "'", "'${X}", "'$$X\\$", "\\"]
        {
            assert!(line("A", value).is_some(), "{value:?}");
        }
        assert_eq!(line("A", "two words # no note").as_deref(), Some("A='two words # no note'\n"));
        assert_eq!(line("A", "it's $5").as_deref(), Some("A=\"it's \\$5\"\n"));
        assert_eq!(line("a name", "x"), None, "no name of a variable");
    }

    #[test]
    fn no_file_is_taken_for_a_compose_file_or_for_another() {
        let mut taken = BTreeSet::new();
        let names = ["project", "project", "compose", "docker-compose", "web"].map(|name| name_of(name, &mut taken));
        assert_eq!(
            names,
            ["project.yaml", "project-service.yaml", "compose-service.yaml", "docker-compose-service.yaml", "web.yaml"]
        );
    }
}
