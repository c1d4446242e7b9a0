//! A reading is judged: what is valid comes into force; whatever cannot be read or believed leaves the last valid
//! version in force.

mod compose;
mod dependencies;
mod few;
mod hosts;
mod ports;

use std::collections::BTreeSet;
use std::sync::Arc;

use composed_core::model::{DesiredService, ServiceName};
use crd_schema::{Project, Service, size_of_text};

use super::catalog::Catalog;
use super::claims::{AllClaims, Claim};
use super::entry::{Document, Entry, Object, ParsedFile, Resolved};
use super::projects::{Projects, may_describe_a_project};
use super::reading::Reading;
use super::resolve::{ResolutionInputs, resolve};
use super::text::Content;

/// So many values may all documents of a reading have, with everything that they are made of and that they stand for: what
/// is bounded is memory, and it is the sum that counts.
const MAX_VALUES: usize = 2_000_000;

/// What a document comes to, what it was made of, and both for the next reading.
type Outcome = (Arc<DesiredService>, Arc<ResolutionInputs>, Option<Arc<Resolved>>);

pub(super) struct Judge<'a> {
    pub(super) reading: &'a Reading,
    pub(super) before: &'a Catalog,
    pub(super) catalog: Catalog,
    pub(super) broken: BTreeSet<String>,
    // A broken file that may describe any project.
    mystery: Option<String>,
    /// The profiles that services of Compose projects have.
    pub(super) profiles: BTreeSet<String>,
    /// How many values there may still be; `None`: there are too many.
    left: Option<usize>,
}

/// Judges all documents of a reading; what it cannot tell is taken from the catalog before it.
fn judge_all(reading: &Reading, before: &Catalog) -> Catalog {
    let begin = Catalog {
        confirmed: before.confirmed,
        guard: before.guard.clone(),
        made_of: before.made_of.clone(),
        came: before.came.clone(),
        orphans_go: reading.compose.orphans_go,
        only: reading.only.clone(),
        once: reading.once,
        ..Catalog::default()
    };
    let mut judge = Judge::new(reading, before, begin);
    judge.run();
    judge.catalog.plain = judge.plain();
    judge.catalog
}

impl<'a> Judge<'a> {
    pub(super) fn new(reading: &'a Reading, before: &'a Catalog, catalog: Catalog) -> Self {
        let (broken, profiles) = (BTreeSet::new(), BTreeSet::new());
        Self { reading, before, catalog, broken, mystery: None, profiles, left: Some(MAX_VALUES) }
    }

    pub(super) fn run(&mut self) {
        self.catalog.begun = true;
        self.catalog.problems.extend(self.reading.refused.iter().cloned());
        // Whoever confirms deletions confirms those that were asked for.
        self.catalog.doubt = self.reading.unread.clone();
        if let Some(broken) = &self.reading.broken {
            return self.stay(format!("the directory cannot be read ({broken})"), broken);
        }
        self.passed_by();
        self.nested();
        if self.reading.single {
            self.doubt("only one file is applied".to_owned());
        } else if self.reading.files.is_empty() {
            self.doubt("the directory holds no documents at all (confirm with --confirm-deletion)".to_owned());
        }
        let said = self.parse();
        if self.left.is_none() {
            return self.stay_as_too_much();
        }
        self.unknown_profiles();
        self.mind(&said);
        let AllClaims { services, projects } = said;
        let projects = Projects::decide(projects, &self.before.projects, &self.broken, self.mystery.take());
        self.catalog.problems.extend(projects.problems.iter().cloned());
        for (name, mut claims) in services {
            if claims.len() > 1 {
                let places: Vec<_> = claims.iter().map(|claim| claim.place.clone()).collect();
                let places = places.join(", ");
                let why =
                    format!("error: {name} is claimed by several documents, so none of them is applied: {places}");
                self.refuse(&name, &places, &why);
            } else if let Some(Claim { file, place, document: service }) = claims.pop() {
                if let Some(why) = projects.untold(&name.project) {
                    let why = format!("error: {place}: {name} stays as it is: {why}");
                    self.keep(&name, &file, &why);
                    continue;
                }
                let project = projects.known.get(&name.project).map(|known| &known.document);
                match self.resolved(&name, (&file, place), &service, project) {
                    Ok((desired, made, resolved)) => {
                        let variables = desired.spec.environment.iter();
                        self.count(variables.map(|(name, value)| size_of_text(name) + size_of_text(value)).sum());
                        if self.left.is_none() {
                            return self.stay_as_too_much();
                        }
                        let entry = Entry { desired: Ok(desired), file, made, resolved };
                        self.catalog.services.insert(name, entry);
                    }
                    Err(why) => self.refuse(&name, &file, &why),
                }
            }
        }
        self.catalog.projects = projects.known;
        self.fronts();
        self.link();
        self.note_health();
        self.note_ports();
        self.remember();
    }

    /// Everything stays as it was before this reading, of which nothing is taken in.
    fn stay(&mut self, doubt: String, problem: &str) {
        self.doubt(doubt);
        self.catalog.problems.push(format!("error: {problem}"));
        self.catalog.services = self.before.services.clone();
        self.catalog.projects = self.before.projects.clone();
        self.catalog.understood = self.before.understood.clone();
        self.catalog.blank = self.before.blank.clone();
        self.catalog.minded = self.before.minded.clone();
        self.catalog.mains = self.before.mains.clone();
        self.catalog.made_of = self.before.made_of.clone();
        self.catalog.begun = self.before.begun;
        self.catalog.ended_fronts = self.before.ended_fronts.clone();
        self.catalog.parsed = self.before.parsed.clone();
        self.link();
    }

    fn stay_as_too_much(&mut self) {
        let why = format!(
            "the documents have more than {MAX_VALUES} values, with files of variables, aliases and ranges of ports written \
             out: none of them is applied; write fewer, or let another instance read a part of them"
        );
        self.stay("there is more than is read".to_owned(), &why);
    }

    /// Counts values of documents.
    pub(super) fn count(&mut self, values: usize) {
        self.left = self.left.and_then(|left| left.checked_sub(values));
    }

    fn parse(&mut self) -> AllClaims {
        let mut said = AllClaims::default();
        for (file, content) in &self.reading.files {
            if self.left.is_none() {
                break;
            }
            if let Some(request) = self.reading.compose.requests.get(file) {
                self.project(file, request, content, &mut said);
                continue;
            }
            if self.reading.compose.have(file) && !self.is_ours(file, content) {
                self.pass_by(file, content);
                continue;
            }
            match self.parsed(file, content) {
                Ok(parsed) if parsed.documents.is_empty() => self.empty(file, content),
                Ok(parsed) => {
                    self.catalog.understood.insert(file.clone());
                    self.count(parsed.documents.iter().map(|document| document.values).sum());
                    for Document { object, line, .. } in &parsed.documents {
                        if let Object::Service(service) = object
                            && !self.is_for_here(service, file, *line)
                        {
                            continue;
                        }
                        said.add(file, format!("{file}:{line}"), object.clone());
                    }
                    self.catalog.parsed.insert(file.clone(), parsed);
                }
                Err(problem) => self.unreadable(file, content, &problem),
            }
        }
        said
    }

    /// A file of documents of our own, read if it has changed since the last reading.
    fn parsed(&self, file: &str, content: &Content) -> Result<Arc<ParsedFile>, String> {
        let text = content.as_ref().map_err(|error| format!("error: {file}: {error}"))?;
        if let Some(known) = self.before.parsed.get(file).filter(|known| known.text == *text) {
            return Ok(Arc::clone(known));
        }
        let parsed = crd_schema::parse_bytes(file, text).map_err(|problems| {
            let each: Vec<_> = problems.iter().map(ToString::to_string).collect();
            each.join("\n")
        })?;
        let documents = parsed.into_iter().map(|parsed| {
            let crd_schema::Parsed { object, line, values } = parsed;
            Document { object: object.into(), line, values }
        });
        Ok(Arc::new(ParsedFile { text: text.clone(), documents: documents.collect() }))
    }

    /// What a document comes to. It is worked out anew if something that it is made of has changed; files of variables and
    /// commits are looked at each time.
    fn resolved(
        &self,
        name: &ServiceName,
        (file, place): (&str, String),
        service: &Service,
        project: Option<&Arc<Project>>,
    ) -> Result<Outcome, String> {
        let before = self.before.services.get(name);
        let Reading { root, host_root, .. } = self.reading;
        let parsed = self.catalog.parsed.get(file);
        let parsed = parsed.filter(|_| service.spec.env_file.is_empty() && self.reading.origin(file).is_none());
        let known = before.and_then(|entry| entry.resolved.as_ref()).zip(parsed);
        if let Some((known, parsed)) = known
            && known.is_of(parsed, &place, project, (root, host_root.as_ref()))
        {
            return Ok((Arc::clone(&known.desired), Arc::clone(&known.made), Some(Arc::clone(known))));
        }
        let none = ResolutionInputs::default();
        let made = before.map_or(&none, |entry| &entry.made);
        let project_document = project.map(AsRef::as_ref);
        let (desired, made) = resolve(self.reading, (file, place.clone()), service, project_document, made)?;
        let (desired, made) = (Arc::new(desired), Arc::new(made));
        let resolved = parsed.map(|parsed| {
            let (parsed, project, roots) = (Arc::clone(parsed), project.cloned(), (root.clone(), host_root.clone()));
            Arc::new(Resolved { parsed, place, project, roots, desired: Arc::clone(&desired), made: Arc::clone(&made) })
        });
        Ok((desired, made, resolved))
    }

    /// A file without documents: cut to nothing, not yet written, or all comments.
    pub(super) fn empty(&mut self, file: &str, content: &Content) {
        if self.before.holds(file) {
            let why = "had documents and is empty now: write it again, or delete it to remove its services";
            self.unreadable(file, content, &format!("error: {file} {why}"));
            return;
        }
        self.doubt(format!("{file} holds no documents: write them, or delete the file"));
        let blank = content.as_ref().is_ok_and(|bytes| bytes.trim_ascii().is_empty());
        if blank && (!self.before.begun || self.before.blank.contains(file)) {
            // It was so when this process began, and what it held before that is not known. In a file that came later,
            // what is not written yet is not wanted yet.
            self.catalog.blank.insert(file.to_owned());
            self.mystery.get_or_insert_with(|| file.to_owned());
        }
    }

    // Whose documents an unreadable file holds is known only from the last time that it could be read.
    pub(super) fn unreadable(&mut self, file: &str, content: &Content, problem: &str) {
        self.doubt(format!("{file} cannot be read"));
        self.catalog.problems.push(problem.to_owned());
        self.broken.insert(file.to_owned());
        let understood = self.before.understood.contains(file);
        if understood {
            self.catalog.understood.insert(file.to_owned());
        }
        let described = self.before.projects.values().any(|known| known.file == file);
        let known = described || (understood && content.is_err());
        let compose = self.reading.compose.requests.contains_key(file);
        if !known && (compose || may_describe_a_project(content)) {
            self.mystery.get_or_insert_with(|| file.to_owned());
        }
        let services = self.before.services.iter();
        let from_here: Vec<_> =
            services.filter(|(_, entry)| entry.file == file).map(|(name, _)| name.clone()).collect();
        for name in from_here {
            self.keep(&name, file, problem);
        }
    }

    pub(super) fn refuse(&mut self, name: &ServiceName, file: &str, why: &str) {
        self.catalog.problems.push(why.to_owned());
        self.keep(name, file, why);
    }

    // The last valid version stays in force; without one the service is held as it is.
    pub(super) fn keep(&mut self, name: &ServiceName, file: &str, why: &str) {
        let before = self.before.services.get(name);
        let desired = match before.and_then(|entry| entry.desired.as_ref().ok()) {
            Some(last) => Ok(Arc::new(DesiredService { error: Some(why.to_owned()), ..(**last).clone() })),
            None => Err(why.to_owned()),
        };
        let file = before.map_or(file, |entry| entry.file.as_str()).to_owned();
        let made = before.map(|entry| Arc::clone(&entry.made)).unwrap_or_default();
        self.catalog.services.insert(name.clone(), Entry { desired, file, made, resolved: None });
    }

    pub(super) fn doubt(&mut self, why: String) {
        if !(self.catalog.confirmed && self.reading.broken.is_none() && self.reading.files.is_empty()) {
            self.catalog.doubt.get_or_insert(why);
        }
    }
}
