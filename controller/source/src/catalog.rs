//! What is wanted, all of it, as of one reading of the files. Whatever cannot be read or believed stops nothing: the
//! last valid version of a document stays in force, and nothing is removed while there is a doubt.

mod renamed;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use composed_core::front;
use composed_core::model::{Desired, DesiredProject, DesiredService, ServiceName};
use jiff::Timestamp;

use super::entry::{Entry, ParsedFile, Plain};
use super::guard::{self, Guard};
use super::made_of::{KnownProjects, ServiceOrigins};
use super::projects::ActiveProject;

/// Everything that is wanted.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says another thing of the files")]
pub struct Catalog {
    pub(super) services: BTreeMap<ServiceName, Entry>,
    pub(super) projects: BTreeMap<String, ActiveProject>,
    pub(super) dependants: BTreeMap<ServiceName, Vec<ServiceName>>,
    /// What is wrong with the files, rendered for people.
    pub problems: Vec<String>,
    /// What is not wrong and yet hardly meant, rendered for people.
    pub notes: Vec<String>,
    /// The only projects that are anybody's business here; `None`: all of them.
    pub(super) minded: Option<BTreeSet<String>>,
    /// Services that are for other hosts: which.
    pub elsewhere: BTreeMap<ServiceName, String>,
    /// Compose files of which no service is active, since all have profiles.
    pub inactive: BTreeSet<String>,
    /// Why nothing may be removed now.
    pub(super) doubt: Option<String>,
    pub(super) confirmed: bool,
    pub(super) guard: Guard,
    /// The directory was read at least once.
    pub(super) begun: bool,
    /// The files that held valid documents when they were last understood.
    pub(super) understood: BTreeSet<String>,
    /// The fronts of services that go on without one.
    pub(super) ended_fronts: BTreeSet<ServiceName>,
    /// What the last valid version of each Compose project was made of, by the full path of its main file.
    pub(super) made_of: KnownProjects,
    /// The main files of the Compose projects, in full.
    pub(super) mains: BTreeSet<PathBuf>,
    /// The services that came from here.
    pub(super) came: ServiceOrigins,
    /// Containers of the project that did not come from here are removed, too.
    pub(super) orphans_go: bool,
    /// The only service that may be changed, if there is such.
    pub(super) only: Option<ServiceName>,
    /// What has failed and cannot be gone back from is not tried again and again.
    pub(super) once: bool,
    /// The files that have been blank since the first reading.
    pub(super) blank: BTreeSet<String>,
    /// The valid files of documents of our own, read: of those that have not changed nothing is read again.
    pub(super) parsed: BTreeMap<String, Arc<ParsedFile>>,
    /// What it is of, where nothing is odd about it: then a few files that change are judged by themselves.
    pub(super) plain: Option<Plain>,
}

impl Catalog {
    /// A catalog to begin with; with `confirmed`, services may vanish all at once.
    pub fn empty(confirmed: bool) -> Self {
        Self { confirmed, ..Self::default() }
    }

    /// The same, with what is remembered of Compose projects.
    #[must_use]
    pub fn knowing(self, made_of: KnownProjects) -> Self {
        Self { made_of, ..self }
    }

    /// What is to be remembered of Compose projects.
    pub fn made_of(&self) -> KnownProjects {
        let mut made_of = self.made_of.clone();
        for (main, made_of) in &mut made_of {
            if self.mains.contains(main) {
                made_of.services = self.came.by(main);
            }
        }
        made_of
    }

    /// Forgets a service that is gone.
    pub fn forget(&self, name: &ServiceName) {
        self.came.forget(name);
    }

    /// Whether this reading is a person's word of this moment: then a file that is missing is meant to be, and nothing waits
    /// for its return.
    pub fn is_once(&self) -> bool {
        self.once
    }

    /// How many files hold valid documents.
    pub fn files(&self) -> usize {
        self.understood.len()
    }

    /// The names of all services that are wanted.
    pub fn names(&self) -> impl Iterator<Item = &ServiceName> {
        self.services.keys()
    }

    /// What is wanted of a service, given which services have containers of ours, and since when its document is
    /// missed if it is.
    pub fn desired(&self, name: &ServiceName, owned: &BTreeSet<ServiceName>, missed: Timestamp) -> Desired {
        let desired = match self.services.get(name) {
            Some(Entry { desired: Ok(desired), .. }) => {
                Desired::Run(Box::new(DesiredService { once: self.once, ..(**desired).clone() }))
            }
            Some(Entry { desired: Err(why), .. }) => Desired::Held(why.clone()),
            None if let Some(why) = self.renamed(name) => Desired::Held(why),
            None if !self.minds(name) => Desired::Held(format!("project {} is described elsewhere", name.project)),
            None if self.is_orphan(name) => Desired::Held(format!(
                "{name} is an orphan: no file here has ever asked for it, so it is left alone; remove it with \
                 --remove-orphans, or by its own file"
            )),
            None => match (self.leftover_front(name), self.removal_held(owned)) {
                (Some(desired), _) => desired,
                (None, Some(why)) => Desired::Held(why),
                (None, None) => Desired::Gone(missed),
            },
        };
        match &self.only {
            Some(only) if self.spares(name) => left_alone(desired, only),
            _ => desired,
        }
    }

    /// Whether a service is left alone because only another one may be changed.
    pub fn spares(&self, name: &ServiceName) -> bool {
        // A front goes with its service, and so does who has joined its namespaces.
        let joins = |only: &ServiceName| self.guests(only).any(|guest| guest == name);
        self.only.as_ref().is_some_and(|only| name != only && front::owner(name).as_ref() != Some(only) && !joins(only))
    }

    /// Whether the project of this service is any business of these files.
    pub fn minds(&self, name: &ServiceName) -> bool {
        self.minded.as_ref().is_none_or(|projects| projects.contains(&name.project))
    }

    /// Whether a service of the one project that the path is of came from elsewhere.
    pub fn is_orphan(&self, name: &ServiceName) -> bool {
        let came = |name: &ServiceName| self.came.knows(name);
        let here = came(name) || front::owner(name).is_some_and(|owner| came(&owner));
        self.minded.is_some() && !self.orphans_go && !self.knows(name) && !here
    }

    /// Whether a service without a document here may be one of these files' all the same: an orphan, or one of a project that
    /// is described elsewhere, is not.
    pub fn may_ask_for(&self, name: &ServiceName) -> bool {
        self.minds(name) && !self.is_orphan(name)
    }

    /// Whether a document claims this name, valid or not.
    pub fn knows(&self, name: &ServiceName) -> bool {
        self.services.contains_key(name)
    }

    /// The service that runs under this name, if it is wanted and valid.
    pub fn service(&self, name: &ServiceName) -> Option<&DesiredService> {
        self.services.get(name).and_then(|entry| entry.desired.as_deref().ok())
    }

    /// The networks and volumes of a project.
    pub fn project(&self, name: &str) -> DesiredProject {
        self.projects.get(name).map(|known| (*known.wanted).clone()).unwrap_or_default()
    }

    /// Whether a project has the same networks and volumes as in another catalog.
    fn has_project_as(&self, other: &Self, name: &str) -> bool {
        let wanted = |catalog: &Self| catalog.projects.get(name).map(|known| Arc::clone(&known.wanted));
        match (wanted(self), wanted(other)) {
            (Some(one), Some(other)) => Arc::ptr_eq(&one, &other) || one == other,
            (one, other) => one.unwrap_or_default() == other.unwrap_or_default(),
        }
    }

    /// The names of all services of a project that are wanted.
    pub fn services_of(&self, project: &str) -> impl Iterator<Item = &ServiceName> {
        self.entries_of(project).map(|(name, _)| name)
    }

    fn entries_of(&self, project: &str) -> impl Iterator<Item = (&ServiceName, &Entry)> {
        let from = self.services.range(ServiceName::new(project, "")..);
        from.take_while(move |(name, _)| name.project == project)
    }

    /// The specifications of all services of a project.
    pub fn specs(&self, project: &str) -> Vec<&crd_schema::ServiceSpec> {
        self.entries_of(project)
            .filter_map(|(_, entry)| entry.desired.as_deref().ok().map(|desired| &*desired.spec))
            .collect()
    }

    /// The services that depend on `name`.
    pub fn dependants(&self, name: &ServiceName) -> impl Iterator<Item = &ServiceName> {
        self.dependants.get(name).into_iter().flatten()
    }

    /// The services that join namespaces of `name`.
    pub fn guests<'a>(&'a self, name: &'a ServiceName) -> impl Iterator<Item = &'a ServiceName> {
        let joins = |guest: &&ServiceName| self.hosts(guest).any(|host| host == *name);
        self.dependants(name).filter(joins)
    }

    /// The services whose namespaces `name` joins.
    pub fn hosts(&self, name: &ServiceName) -> impl Iterator<Item = ServiceName> {
        let spec = self.service(name).map(|service| &service.spec);
        spec.into_iter().flat_map(|spec| spec.shares()).map(|(_, other)| ServiceName::new(&name.project, other))
    }

    /// Takes note of which services have containers of ours. To be called before anything is made for this catalog:
    /// new services must not make those that have vanished look few.
    pub fn take_stock(&self, owned: &BTreeSet<ServiceName>) {
        self.held(owned);
    }

    /// Why services without a document are not removed now, if they are not.
    pub fn removal_held(&self, owned: &BTreeSet<ServiceName>) -> Option<String> {
        let held = self.held(owned);
        if let Some(doubt) = &self.doubt {
            return Some(format!("its document is gone, but nothing is removed while {doubt}"));
        }
        (held > 0).then(|| {
            let all = owned.len();
            format!(
                "{held} of {all} services that have containers have lost their documents at once, so none is removed: \
                 put the documents back, or confirm with `replicas: 0` in them or by starting with --confirm-deletion"
            )
        })
    }

    /// The services with containers of ours that have lost their documents.
    pub fn lost<'a>(&'a self, owned: &'a BTreeSet<ServiceName>) -> impl Iterator<Item = &'a ServiceName> {
        self.without_document(owned).filter(|name| self.minds(name))
    }

    /// Whether a service that has lost its document seems to be renamed, going by what it was: then it has not lost anything. Tells
    /// in words what is news.
    pub fn take_for_renamed(
        &self,
        name: &ServiceName,
        was: &crd_schema::ServiceSpec,
        owned: &BTreeSet<ServiceName>,
    ) -> Option<String> {
        let others = self.services.iter().filter(|(other, _)| other.project == name.project && *other != name);
        let mut successors = others.filter_map(|(other, entry)| {
            let why = guard::succeeds(was, entry.desired.as_ref().ok()?, !owned.contains(other))?;
            Some((other, why))
        });
        let (to, why) = successors.next()?;
        let news = self.guard.renamed(name, to);
        news.then(|| format!("service {} seems to be renamed to {}: it has {why}", name.name, to.name))
    }

    fn held(&self, owned: &BTreeSet<ServiceName>) -> usize {
        if self.confirmed || !self.begun {
            return 0;
        }
        // A front goes with its service: the two are one.
        let of_owned = |name: &&ServiceName| {
            !self.services.contains_key(*name) && front::owner(name).is_some_and(|owner| owned.contains(&owner))
        };
        let minded = |name: &&ServiceName| self.minds(name) && !self.is_orphan(name) && !of_owned(name);
        let gone: BTreeSet<_> = self.without_document(owned).filter(minded).cloned().collect();
        // This is asked at each look, and hardly ever is one gone.
        let all = if gone.is_empty() { 0 } else { owned.iter().filter(minded).count() };
        self.guard.note(&gone, all)
    }

    /// Those of these services that no document claims: both are in order.
    fn without_document<'a>(&'a self, names: &'a BTreeSet<ServiceName>) -> impl Iterator<Item = &'a ServiceName> {
        let mut known = self.services.keys().peekable();
        names.iter().filter(move |name| {
            loop {
                match known.peek().map(|one| (*one).cmp(name)) {
                    Some(Ordering::Less) => drop(known.next()),
                    Some(Ordering::Equal) => return known.next().is_none(),
                    Some(Ordering::Greater) | None => return true,
                }
            }
        })
    }

    /// Whether a file held documents that are in force.
    pub(super) fn holds(&self, file: &str) -> bool {
        let services = self.services.values().any(|entry| entry.file == file);
        services || self.projects.values().any(|known| known.file == file)
    }

    /// The services whose wish differs between two catalogs, and the projects.
    pub fn changed(&self, before: &Self) -> (BTreeSet<ServiceName>, BTreeSet<String>) {
        // Both are in order, and what has not changed is the same in both.
        let mut known = before.services.iter().peekable();
        let mut services = BTreeSet::new();
        for (name, entry) in &self.services {
            while let Some((gone, _)) = known.next_if(|(one, _)| *one < name) {
                services.insert(gone.clone());
            }
            if known.next_if(|(one, _)| *one == name).is_none_or(|(_, old)| !is_same_wish(&entry.desired, &old.desired))
            {
                services.insert(name.clone());
            }
        }
        services.extend(known.map(|(gone, _)| gone.clone()));
        let described = self.projects.keys().chain(before.projects.keys());
        let altered = described.filter(|name| !self.has_project_as(before, name)).cloned();
        let projects = altered.chain(services.iter().map(|name| name.project.clone())).collect();
        (services, projects)
    }

    fn wishes_as(&self, other: &Self, name: &ServiceName) -> bool {
        let wish = |catalog: &'_ Self| catalog.services.get(name).map(|entry| entry.desired.clone());
        match (wish(self), wish(other)) {
            (Some(one), Some(other)) => is_same_wish(&one, &other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }

    /// Whether the wish for a service is the same as in an earlier catalog, with what may not be done for it. What others want
    /// does not matter: who waits for them to stay as they are may wait for ever.
    pub fn wants_as(&self, before: &Self, name: &ServiceName) -> bool {
        let held = |catalog: &Self| (catalog.minds(name), catalog.is_orphan(name));
        std::ptr::eq(self, before)
            || (self.wishes_as(before, name)
                && (&self.doubt, &self.only, held(self)) == (&before.doubt, &before.only, held(before))
                && self.has_project_as(before, &name.project))
    }

    /// Whether a doubt about removals was raised or lifted between two catalogs.
    pub fn doubt_changed(&self, before: &Self) -> bool {
        self.doubt != before.doubt
    }
}

fn is_same_wish(one: &Result<Arc<DesiredService>, String>, other: &Result<Arc<DesiredService>, String>) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => Arc::ptr_eq(one, other) || one == other,
        (one, other) => one == other,
    }
}

/// It is shown as it is, for those that depend on it, and nothing is done to it.
fn left_alone(desired: Desired, only: &ServiceName) -> Desired {
    match desired {
        Desired::Run(mut desired) => {
            Arc::make_mut(&mut desired.spec).paused = true;
            desired.source = format!("the rollout of {only}");
            Desired::Run(desired)
        }
        Desired::Gone(_) => Desired::Held(format!("only {only} is rolled out now")),
        Desired::Held(why) => Desired::Held(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::Reading;

    #[test]
    fn who_has_no_document_is_found_in_one_walk() {
        let name = |name: &&str| ServiceName::new("p", *name);
        let document = |name: &str| {
            format!(
                "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: p, name: {name}}}\nspec: {{image: x}}\n"
            )
        };
        let files = ["b", "c", "e"].map(|name| (format!("{name}.yaml"), Ok(document(name).into_bytes().into())));
        let reading = Reading { files: files.into(), ..Reading::default() };
        let catalog = Catalog::new(&reading, &Catalog::empty(false));
        for (owned, gone) in [
            (&["a", "b", "c", "d", "e", "f"][..], &["a", "d", "f"][..]),
            (&["b", "c", "e"], &[]),
            (&["c"], &[]),
            (&["f"], &["f"]),
            (&[], &[]),
        ] {
            let owned: BTreeSet<_> = owned.iter().map(name).collect();
            let found: Vec<_> = catalog.without_document(&owned).cloned().collect();
            assert_eq!(found, gone.iter().map(name).collect::<Vec<_>>());
        }
    }
}
