//! Compose projects among the files: what they come to, what they are made of, and whose business the projects are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use composed_core::model::ServiceName;
use crd_schema::compose::{Located, Request, load};

use super::Judge;
use crate::claims::AllClaims;
use crate::compose::RecordedFiles;
use crate::path::absolute;
use crate::text::{Content, Text};

impl Judge<'_> {
    /// A Compose project. What is wrong with one of its files is wrong with all of it.
    pub(super) fn project(&mut self, file: &str, request: &Request, content: &Content, said: &mut AllClaims) {
        match content {
            Err(error) => return self.unreadable(file, content, &format!("error: {file}: {error}")),
            Ok(bytes) if bytes.trim_ascii().is_empty() => return self.empty(file, content),
            Ok(_) => {}
        }
        // A commit is read whole and only by choice: nothing in it is missing for a moment.
        let main = self.reading.origin(file).is_none().then(|| self.reading.full(file));
        let mut files = RecordedFiles::new(self.reading, file);
        let loaded = load(request, &mut files);
        let made_of = files.made_of();
        // Whoever confirms confirms what is there when the process begins.
        let confirmed = self.catalog.confirmed && !self.before.begun;
        let before = main.as_ref().and_then(|main| self.before.made_of.get(main)).filter(|_| !confirmed);
        let emptied = before.and_then(|before| made_of.emptied(before, files.asked()));
        match loaded {
            Ok(loaded) => {
                self.count(loaded.values);
                if let Some(path) = emptied {
                    let why = format!(
                        "error: {path} of {file} had variables and has none now, so the project stays as it is: write \
                         it again, change the Compose file with it, or confirm by starting with --confirm-deletion"
                    );
                    self.unreadable(file, content, &why);
                    return self.hold(file, &loaded.objects, &why);
                }
                self.catalog.made_of.extend(main.map(|main| (main, made_of)));
                self.catalog.understood.insert(file.to_owned());
                let active = loaded.objects.iter().any(|one| matches!(one.object, crd_schema::Object::Service(_)));
                if !active && !loaded.profiles.is_empty() {
                    let profiles: Vec<&str> = loaded.profiles.iter().map(String::as_str).collect();
                    let profiles = profiles.join(", ");
                    let note = format!(
                        "warning: {file}: no service of it is active: all have profiles ({profiles}), and \
                                        none of them was asked for (--profile NAME)"
                    );
                    self.catalog.notes.push(note);
                    self.catalog.inactive.insert(file.to_owned());
                }
                self.profiles.extend(loaded.profiles);
                let notes = loaded.notes.into_iter().map(|note| {
                    let help = note.help.map(|help| format!(" ({help})")).unwrap_or_default();
                    format!("warning: {}:{}:{}: {}{help}", note.file, note.line, note.column, note.message)
                });
                self.catalog.notes.extend(notes);
                for located in loaded.objects {
                    said.add(file, format!("{}:{}", located.file, located.line), located.object.into());
                }
            }
            Err(problems) => {
                let each: Vec<_> = problems.iter().map(ToString::to_string).collect();
                self.unreadable(file, content, &each.join("\n"));
            }
        }
    }

    /// Services of a Compose project that this process has not known before, and that stay as they are.
    fn hold(&mut self, file: &str, objects: &[Located], why: &str) {
        for located in objects {
            let crd_schema::Object::Service(service) = &located.object else { continue };
            let name = ServiceName::new(&service.metadata.project, &service.metadata.name);
            if !self.before.knows(&name) {
                self.keep(&name, file, why);
            }
        }
    }

    /// Compose files that belong to no project here: said, so that nobody waits for them.
    pub(super) fn nested(&mut self) {
        let notes = self.reading.compose.nested.iter().map(|(file, above)| {
            format!(
                "warning: {file} is passed by, since it is below the directory of {above}: `include` it there, or give \
                 its own path"
            )
        });
        self.catalog.notes.extend(notes);
    }

    /// Profiles that were asked for and that no service has. `docker compose` says nothing of them.
    pub(super) fn unknown_profiles(&mut self) {
        let requests = &self.reading.compose.requests;
        if requests.keys().any(|file| self.broken.contains(file)) {
            return; // It may have them.
        }
        let asked = requests.values().flat_map(|request| &request.profiles);
        let unknown: BTreeSet<&String> = asked.filter(|name| *name != "*" && !self.profiles.contains(*name)).collect();
        let known: Vec<&str> = self.profiles.iter().map(String::as_str).collect();
        for name in unknown {
            let help = match (crd_schema::nearest(name, &known), known.as_slice()) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, []) => "no service has any".to_owned(),
                (None, known) => format!("there are: {}", known.join(", ")),
            };
            self.catalog.notes.push(format!("warning: --profile {name}: no service has this profile ({help})"));
        }
    }

    /// Takes note of what the Compose projects were made of, and of which services came from here.
    pub(super) fn remember(&mut self) {
        let requests = &self.reading.compose.requests;
        let on_disk = requests.keys().filter(|file| self.reading.origin(file).is_none());
        let full: BTreeMap<&String, PathBuf> = on_disk.map(|file| (file, self.reading.full(file))).collect();
        for main in full.values().filter(|main| !self.before.mains.contains(*main)) {
            let services = self.before.made_of.get(main).map(|made_of| made_of.services.clone());
            self.catalog.came.add(services.unwrap_or_default(), main);
        }
        let alone = full.values().next().filter(|_| self.reading.compose.alone);
        for (name, entry) in &self.catalog.services {
            if let Some(main) = full.get(&entry.file).or(alone) {
                self.catalog.came.add([name.clone()], main);
            }
        }
        // One that is not there any more is not missed after the next start. Of other paths nothing is known here.
        let root = absolute(&self.reading.root);
        let named = requests.values().any(|request| request.named);
        self.catalog.mains = full.into_values().collect();
        let mains = &self.catalog.mains;
        self.catalog.made_of.retain(|main, _| named || mains.contains(main) || !main.starts_with(&root));
    }

    /// Whether a file beside a Compose file is one of our documents: it says so, begins to, or was one.
    pub(super) fn is_ours(&self, file: &str, content: &Content) -> bool {
        let says = content.as_ref().is_ok_and(Text::says_ours);
        says || self.before.understood.contains(file)
    }

    /// A file beside a Compose file that is none of our documents. What cannot be told of it stops removals: it may have
    /// been one before this process began.
    pub(super) fn pass_by(&mut self, file: &str, content: &Content) {
        let why = match content {
            Err(error) => format!("{file} cannot be read ({error})"),
            Ok(bytes) if bytes.trim_ascii().is_empty() => format!("{file} is empty"),
            Ok(_) => return,
        };
        self.catalog.notes.push(format!("warning: {why}: nothing is removed while that is so"));
        self.doubt(why);
    }

    /// Directories below a Compose file that may not be looked into: what they were seen to hold stays in force.
    pub(super) fn passed_by(&mut self) {
        for dir in &self.reading.passed_by {
            let below = format!("{dir}/");
            let held: Vec<_> = self.before.understood.iter().filter(|file| file.starts_with(&below)).cloned().collect();
            for file in held {
                let why = format!("the directory {dir} cannot be read");
                self.unreadable(&file, &Err(why.clone()), &format!("error: {file}: {why}"));
            }
        }
    }

    /// Where the path is that of one Compose project, the services of others are left alone.
    pub(super) fn mind(&mut self, said: &AllClaims) {
        // Once it was, it stays so in this process: a Compose file that is gone makes nobody else's services ours.
        if !self.reading.compose.alone && self.before.minded.is_none() {
            return;
        }
        let services = said.services.keys().map(|name| &name.project);
        let mut minded: BTreeSet<String> = services.chain(said.projects.keys()).cloned().collect();
        minded.extend(self.before.minded.iter().flatten().cloned());
        self.catalog.minded = Some(minded);
    }
}
