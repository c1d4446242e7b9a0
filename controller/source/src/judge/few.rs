//! A reading in which a few files of documents are other than before, and nothing else: only those are judged, and the rest of
//! the catalog is the one before. Whatever may be of consequence to other documents is left to the judge of all.

use std::sync::Arc;

use composed_core::model::{DesiredService, ServiceName};
use crd_schema::{Service, size_of_text};

use super::{Judge, judge_all};
use crate::catalog::Catalog;
use crate::compose::asked::Projects;
use crate::entry::{Document, Object, ParsedFile, Plain};
use crate::reading::Reading;
use crate::text::Content;

impl Catalog {
    /// Judges a reading; what it cannot tell is taken from the catalog before it.
    pub fn new(reading: &Reading, before: &Self) -> Self {
        judge(reading, before).unwrap_or_else(|| judge_all(reading, before))
    }
}

impl Judge<'_> {
    /// Whether there is nothing odd about what was judged.
    pub(super) fn plain(&self) -> Option<Plain> {
        let catalog = &self.catalog;
        let odd = !is_plain(self.reading)
            || catalog.parsed.len() != self.reading.files.len()
            || !(catalog.problems.is_empty() && catalog.notes.is_empty() && catalog.blank.is_empty())
            || catalog.doubt.is_some()
            || catalog.minded.is_some();
        let Reading { root, host_root, host_name, only, .. } = self.reading;
        let left = self.left.filter(|_| !odd)?;
        Some(Plain { roots: (root.clone(), host_root.clone()), host: host_name.clone(), only: only.clone(), left })
    }
}

fn is_of(plain: &Plain, reading: &Reading) -> bool {
    is_plain(reading)
        && plain.roots.0 == reading.root
        && plain.roots.1 == reading.host_root
        && plain.host == reading.host_name
        && plain.only == reading.only
}

/// Whether a reading holds nothing but files of documents of our own, on the disk.
fn is_plain(reading: &Reading) -> bool {
    let nothing_else = reading.env_files.is_empty() && reading.passed_by.is_empty() && reading.origins.is_empty();
    let whole = reading.broken.is_none() && reading.unread.is_none() && reading.refused.is_empty() && !reading.single;
    nothing_else && whole && reading.compose == Projects::default()
}

/// The catalog of a reading that differs from the one before it in a few files; `None`: all is to be judged.
fn judge(reading: &Reading, before: &Catalog) -> Option<Catalog> {
    let plain = before.plain.as_ref().filter(|plain| is_of(plain, reading))?;
    let altered = altered(reading, before)?;
    let mut judge = Judge { left: Some(plain.left), ..Judge::new(reading, before, before.clone()) };
    for (file, content) in altered {
        judge.replace(file, content)?;
    }
    let left = judge.left?;
    judge.catalog.plain = Some(Plain { left, ..plain.clone() });
    Some(judge.catalog)
}

/// The files that hold something else than before; `None`: there are others.
fn altered<'r>(reading: &'r Reading, before: &Catalog) -> Option<Vec<(&'r str, &'r Content)>> {
    if reading.files.len() != before.parsed.len() {
        return None;
    }
    let mut altered = Vec::new();
    // Both are in order.
    for ((file, content), (known, parsed)) in reading.files.iter().zip(&before.parsed) {
        if file != known {
            return None;
        }
        if !content.as_ref().is_ok_and(|text| *text == parsed.text) {
            altered.push((file.as_str(), content));
        }
    }
    Some(altered)
}

impl Judge<'_> {
    /// Puts what a file says now in the place of what it said.
    fn replace(&mut self, file: &str, content: &Content) -> Option<()> {
        let now = self.parsed(file, content).ok()?;
        let before = Arc::clone(self.before.parsed.get(file)?);
        let pairs: Vec<_> = now.documents.iter().zip(&before.documents).filter_map(pair).collect();
        if pairs.len() != now.documents.len() || pairs.len() != before.documents.len() {
            return None;
        }
        self.recount(values(&before), values(&now));
        self.catalog.parsed.insert(file.to_owned(), Arc::clone(&now));
        for (service, line) in pairs {
            self.replace_service(file, service, line)?;
        }
        Some(())
    }

    fn replace_service(&mut self, file: &str, service: &Arc<Service>, line: usize) -> Option<()> {
        let name = ServiceName::new(&service.metadata.project, &service.metadata.name);
        let entry = self.before.services.get(&name)?;
        let old = Arc::clone(entry.desired.as_ref().ok()?);
        let project = self.before.projects.get(&name.project).map(|known| &known.document);
        let (mut desired, made, resolved) =
            self.resolved(&name, (file, format!("{file}:{line}")), service, project).ok()?;
        if !self.is_alone(&old, &desired) {
            return None;
        }
        self.recount(variables(&old), variables(&desired));
        if desired.one_shot != old.one_shot {
            Arc::make_mut(&mut desired).one_shot = old.one_shot;
        }
        let entry = self.catalog.services.get_mut(&name)?;
        (entry.desired, entry.made, entry.resolved) = (Ok(desired), made, resolved);
        Some(())
    }

    /// Whether a change of a service is of no consequence to what is wanted of others, nor theirs to it: what it says of others
    /// is the same, nobody is replaced with it or joins its namespaces, and it asks for no other host port.
    fn is_alone(&self, old: &DesiredService, new: &DesiredService) -> bool {
        let (one, other) = (&old.spec, &new.spec);
        let own = [one, other]
            .iter()
            .all(|spec| spec.front.is_none() && spec.generated.is_none() && spec.shares().next().is_none());
        let tied = one.depends_on.values().any(|dependency| dependency.restart);
        let moves_with = |dependant: &ServiceName| {
            self.before.service(dependant).is_none_or(|dependant| {
                let shares = dependant.spec.shares().any(|(_, other)| other == old.name.name);
                shares || dependant.spec.depends_on.get(&old.name.name).is_none_or(|dependency| dependency.restart)
            })
        };
        own && !tied
            && one.depends_on == other.depends_on
            && one.ports == other.ports
            && !self.before.dependants(&old.name).any(moves_with)
    }

    fn recount(&mut self, before: usize, now: usize) {
        self.left = self.left.and_then(|left| (left + before).checked_sub(now));
    }
}

/// A service as a file says it now, if it is the one that it said there before, on whatever host.
fn pair<'a>((now, before): (&'a Document, &Document)) -> Option<(&'a Arc<Service>, usize)> {
    let (Object::Service(service), Object::Service(old)) = (&now.object, &before.object) else { return None };
    let (one, other) = (&service.metadata, &old.metadata);
    let same = one.project == other.project && one.name == other.name;
    (same && one.hosts.is_empty() && other.hosts.is_empty()).then_some((service, now.line))
}

fn values(file: &ParsedFile) -> usize {
    file.documents.iter().map(|document| document.values).sum()
}

fn variables(desired: &DesiredService) -> usize {
    desired.spec.environment.iter().map(|(name, value)| size_of_text(name) + size_of_text(value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostName;
    use std::collections::BTreeMap;

    fn document(name: &str, version: u64, more: &str) -> String {
        format!(
            "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: p, name: {name}}}\n\
             spec: {{image: 'x:{version}', environment: {{V: '{version}'}}{more}}}\n"
        )
    }

    fn reading(files: &BTreeMap<String, String>) -> Reading {
        let files = files.iter().map(|(file, text)| (file.clone(), Ok(text.clone().into_bytes().into())));
        Reading { files: files.collect(), ..Reading::default() }
    }

    /// What a catalog says: all that it holds.
    fn said(catalog: &Catalog) -> String {
        format!("{catalog:?}")
    }

    /// One file among many that says something else is judged alone, and the others are not even copied.
    #[test]
    fn one_file_of_many_is_judged_alone() {
        let mut files: BTreeMap<_, _> =
            (0..300).map(|at| (format!("s{at}.yaml"), document(&format!("s{at}"), 1, ""))).collect();
        let before = Catalog::new(&reading(&files), &Catalog::empty(false));
        files.insert("s7.yaml".to_owned(), document("s7", 2, ""));
        let reading = reading(&files);
        assert_eq!(altered(&reading, &before).expect("nothing else has changed").len(), 1);
        let catalog = judge(&reading, &before).expect("there is nothing odd about it");
        let same = |name: &&ServiceName| {
            let of = |catalog: &Catalog| catalog.services.get(*name).and_then(|entry| entry.desired.clone().ok());
            of(&catalog).zip(of(&before)).is_some_and(|(one, other)| Arc::ptr_eq(&one, &other))
        };
        assert_eq!(catalog.names().filter(same).count(), 299);
        assert_eq!(catalog.changed(&before).0, [ServiceName::new("p", "s7")].into());
        assert_eq!(said(&catalog), said(&judge_all(&reading, &before)));
    }

    /// What a service says of others, or has others do with it, is everybody's matter.
    #[test]
    fn what_is_of_consequence_to_others_is_not_judged_alone() {
        let files = |version, a: &str, b: &str| {
            let files = [("a", version, a), ("b", 1, b)];
            files.map(|(name, version, more)| (format!("{name}.yaml"), document(name, version, more))).into()
        };
        let waits = |other: &str| format!(", depends_on: [{other}]");
        let tied = |other: &str| format!(", depends_on: {{{other}: {{condition: service_started, restart: true}}}}");
        let joins = |other: &str| format!(", network_mode: 'service:{other}'");
        let front = ", ports: ['80:80'], front: tcp".to_owned();
        let none = String::new;
        for (a, b, alone) in [
            (none(), none(), true),
            (none(), waits("a"), true),
            (waits("b"), none(), true),
            (none(), tied("a"), false),
            (tied("b"), none(), false),
            (none(), joins("a"), false),
            (joins("b"), none(), false),
            (front, none(), false),
        ] {
            let before = Catalog::new(&reading(&files(1, &a, &b)), &Catalog::empty(false));
            assert!(before.plain.is_some(), "{a} {b}: {:?}", before.problems);
            assert_eq!(judge(&reading(&files(2, &a, &b)), &before).is_some(), alone, "{a} {b}");
        }
    }

    /// A change in what a document says, by chance: most are plain, some are of consequence to others or wrong.
    fn change(files: &mut BTreeMap<String, String>, rng: &mut fastrand::Rng) {
        let at = rng.u64(..8);
        let other = if rng.bool() { (at + 1) % 8 } else { rng.u64(..8) };
        let (name, other, version) = (format!("s{at}"), format!("s{other}"), rng.u64(..4));
        let others = [
            String::new(),
            format!(", depends_on: [{other}]"),
            format!(", depends_on: {{{other}: {{condition: service_completed_successfully}}}}"),
            format!(", depends_on: {{{other}: {{condition: service_started, restart: true}}}}"),
            format!(", network_mode: 'service:{other}'"),
            ", ports: ['80:80'], front: tcp".to_owned(),
            ", volumes: ['./data:/data']".to_owned(),
            ", env_file: .env".to_owned(),
            ", networks: [backend]".to_owned(),
        ];
        let more = if rng.u8(..3) == 0 { rng.choice(&others).expect("there are some") } else { "" };
        let file = format!("s{at}.yaml");
        let plain = document(&name, version, more);
        let text = match rng.u8(..40) {
            0 => plain.replace("name: s", "hosts: [a], name: s"),
            1 => "apiVersion: composed.dev/v1\nkind: Service\nspec: {imgae: x}\n".to_owned(),
            2 => String::new(),
            3 => format!("{plain}---\n{}", document(&other, version, "")),
            4 => "apiVersion: composed.dev/v1\nkind: Project\nmetadata: {name: p}\nspec: {networks: {backend: {}}}\n"
                .to_owned(),
            5 => return drop(files.remove(&file)),
            6 => format!("# a line\n{plain}"),
            _ => plain,
        };
        files.insert(file, text);
    }

    /// However a reading is judged, it comes to the same.
    #[test]
    fn a_few_come_to_what_all_come_to() {
        let mut alone = 0;
        for seed in 0..24 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let host = if rng.bool() { HostName::Is("b".to_owned()) } else { HostName::Any };
            let reading = |files: &_| Reading { host_name: host.clone(), ..reading(files) };
            let plain = || (0..8).map(|at| (format!("s{at}.yaml"), document(&format!("s{at}"), 1, "")));
            let mut files: BTreeMap<_, _> = plain().collect();
            let mut before = judge_all(&reading(&files), &Catalog::empty(rng.bool()));
            for step in 0..20 {
                if rng.u8(..6) == 0 {
                    files.extend(plain());
                }
                (0..rng.u8(1..3)).for_each(|_| change(&mut files, &mut rng));
                let reading = reading(&files);
                let all = judge_all(&reading, &before);
                if let Some(few) = judge(&reading, &before) {
                    alone += 1;
                    assert_eq!(said(&few), said(&all), "seed {seed}, step {step}");
                }
                before = all;
            }
        }
        assert!(alone > 80, "{alone}");
    }
}
