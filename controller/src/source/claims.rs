//! What valid files say: which documents they hold, our own or those that a Compose project comes to, and whose business
//! the projects are.

use std::collections::{BTreeMap, BTreeSet};

use crd_schema::compose::{Request, load};
use crd_schema::{Object, Project, Service};

use super::compose::Recorded;
use super::files::Content;
use super::judge::Judge;
use crate::model::ServiceName;

/// A document that a valid file holds.
pub(super) struct Claim<T> {
    /// The file that is watched for it: of a Compose project the main one.
    pub(super) file: String,
    /// Where it is described, `file:line`.
    pub(super) place: String,
    pub(super) document: T,
}

/// What valid files say.
pub(super) type Claims<N, T> = BTreeMap<N, Vec<Claim<T>>>;

/// The claims to services, and those to projects.
#[derive(Default)]
pub(super) struct Said {
    pub(super) services: Claims<ServiceName, Service>,
    pub(super) projects: Claims<String, Project>,
}

impl Said {
    pub(super) fn add(&mut self, file: &str, place: String, object: Object) {
        let file = file.to_owned();
        match object {
            Object::Service(document) => {
                let name = ServiceName::new(&document.metadata.project, &document.metadata.name);
                self.services.entry(name).or_default().push(Claim { file, place, document });
            }
            Object::Project(document) => {
                let name = document.metadata.name.clone();
                self.projects.entry(name).or_default().push(Claim { file, place, document });
            }
        }
    }
}

impl Judge<'_> {
    /// A Compose project. What is wrong with one of its files is wrong with all of it.
    pub(super) fn project(&mut self, file: &str, request: &Request, content: &Content, said: &mut Said) {
        match content {
            Err(error) => return self.unreadable(file, content, &format!("error: {file}: {error}")),
            Ok(bytes) if bytes.trim_ascii().is_empty() => return self.empty(file, content),
            Ok(_) => {}
        }
        let before = self.before.made_of.get(file);
        let mut files = Recorded::new(self.reading, file);
        let loaded = load(request, &mut files);
        let made_of = files.made_of();
        let emptied = before.and_then(|before| made_of.emptied(before)).filter(|_| loaded.is_ok());
        let kept = if loaded.is_ok() && emptied.is_none() { Some(&made_of) } else { before };
        self.catalog.made_of.extend(kept.map(|made_of| (file.to_owned(), made_of.clone())));
        if let Some(path) = emptied {
            let path = path.display();
            let why = "had variables and has none now: write it again, or change the Compose file with it";
            return self.unreadable(file, content, &format!("error: {path} of {file} {why}"));
        }
        match loaded {
            Ok(loaded) => {
                self.catalog.understood.insert(file.to_owned());
                let notes = loaded.notes.into_iter().map(|note| {
                    let help = note.help.map(|help| format!(" ({help})")).unwrap_or_default();
                    format!("warning: {}:{}:{}: {}{help}", note.file, note.line, note.column, note.message)
                });
                self.catalog.notes.extend(notes);
                for located in loaded.objects {
                    said.add(file, format!("{}:{}", located.file, located.line), located.object);
                }
            }
            Err(problems) => {
                let each: Vec<_> = problems.iter().map(ToString::to_string).collect();
                self.unreadable(file, content, &each.join("\n"));
            }
        }
    }

    /// Whether a file beside a Compose file is one of our documents: it says so, or it was one.
    pub(super) fn is_ours(&self, file: &str, content: &Content) -> bool {
        const MARK: &[u8] = b"composed.dev/";
        let says = content.as_ref().is_ok_and(|bytes| bytes.windows(MARK.len()).any(|window| window == MARK));
        says || self.before.understood.contains(file)
    }

    /// Where the path is that of one Compose project, the services of others are left alone.
    pub(super) fn mind(&mut self, said: &Said) {
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
