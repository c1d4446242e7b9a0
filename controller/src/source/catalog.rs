//! What is wanted, all of it, as of one reading of the files. Whatever cannot be read or believed stops nothing: the
//! last valid version of a document stays in force, and nothing is removed while there is a doubt.

use std::collections::{BTreeMap, BTreeSet};

use crd_schema::{Object, Project, Service};
use jiff::Timestamp;

use super::env_file;
use super::files::Reading;
use crate::model::{Desired, DesiredProject, DesiredService, ServiceName};
use crate::plan::project::uses;

/// Everything that is wanted.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    services: BTreeMap<ServiceName, Entry>,
    projects: BTreeMap<String, DesiredProject>,
    dependants: BTreeMap<ServiceName, Vec<ServiceName>>,
    /// What is wrong with the files, rendered for people.
    pub problems: Vec<String>,
    /// Why nothing may be removed now.
    doubt: Option<String>,
    confirmed: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    desired: Result<Box<DesiredService>, String>,
    file: String,
}

impl Catalog {
    /// Resolves a reading; what it cannot tell is taken from the catalog before it.
    pub fn new(reading: &Reading, before: &Self) -> Self {
        let mut build = Build { reading, before, catalog: Self { confirmed: before.confirmed, ..Self::default() } };
        build.run();
        build.catalog
    }

    /// A catalog to begin with; with `confirmed`, services may vanish all at once.
    pub fn empty(confirmed: bool) -> Self {
        Self { confirmed, ..Self::default() }
    }

    /// The names of all services that are wanted.
    pub fn names(&self) -> impl Iterator<Item = &ServiceName> {
        self.services.keys()
    }

    /// What is wanted of a service, given which services have containers of ours, and since when its document is
    /// missed if it is.
    pub fn desired(&self, name: &ServiceName, owned: &BTreeSet<ServiceName>, missed: Timestamp) -> Desired {
        match self.services.get(name) {
            Some(Entry { desired: Ok(desired), .. }) => Desired::Run(desired.clone()),
            Some(Entry { desired: Err(why), .. }) => Desired::Held(why.clone()),
            None => match self.removal_held(owned) {
                Some(why) => Desired::Held(why),
                None => Desired::Gone(missed),
            },
        }
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
        self.projects.get(name).cloned().unwrap_or_default()
    }

    /// The specifications of all services of a project.
    pub fn specs(&self, project: &str) -> Vec<&crd_schema::ServiceSpec> {
        let of_project = self.services.iter().filter(|(name, _)| name.project == project);
        of_project.filter_map(|(_, entry)| entry.desired.as_deref().ok().map(|desired| &desired.spec)).collect()
    }

    /// The services that depend on `name`.
    pub fn dependants(&self, name: &ServiceName) -> impl Iterator<Item = &ServiceName> {
        self.dependants.get(name).into_iter().flatten()
    }

    /// Why services without a document are not removed now, if they are not.
    pub fn removal_held(&self, owned: &BTreeSet<ServiceName>) -> Option<String> {
        if let Some(doubt) = &self.doubt {
            return Some(format!("its document is gone, but nothing is removed while {doubt}"));
        }
        let gone = owned.iter().filter(|name| !self.services.contains_key(*name)).count();
        let known = self.services.keys().chain(owned).collect::<BTreeSet<_>>().len();
        if gone * 2 > known && !self.confirmed {
            return Some(format!(
                "{gone} of {known} services have lost their documents at once, so none is removed: put the documents \
                 back, or confirm with `replicas: 0` in them or by starting with --confirm-deletion"
            ));
        }
        None
    }

    /// The services whose wish differs between two catalogs, and the projects.
    pub fn changed(&self, before: &Self) -> (BTreeSet<ServiceName>, BTreeSet<String>) {
        let wish = |catalog: &Self, name: &ServiceName| catalog.services.get(name).map(|entry| entry.desired.clone());
        let names: BTreeSet<_> = self.services.keys().chain(before.services.keys()).cloned().collect();
        let services: BTreeSet<_> = names.into_iter().filter(|name| wish(self, name) != wish(before, name)).collect();
        let described = self.projects.keys().chain(before.projects.keys());
        let altered = described.filter(|name| self.projects.get(*name) != before.projects.get(*name)).cloned();
        let projects = altered.chain(services.iter().map(|name| name.project.clone())).collect();
        (services, projects)
    }

    /// Whether a doubt about removals was raised or lifted between two catalogs.
    pub fn doubt_changed(&self, before: &Self) -> bool {
        self.doubt != before.doubt
    }
}

struct Build<'a> {
    reading: &'a Reading,
    before: &'a Catalog,
    catalog: Catalog,
}

impl Build<'_> {
    fn run(&mut self) {
        if let Some(broken) = &self.reading.broken {
            self.doubt(format!("the directory cannot be read ({broken})"));
            self.catalog.problems.push(format!("error: {broken}"));
            self.catalog.services = self.before.services.clone();
            self.catalog.projects = self.before.projects.clone();
            self.link();
            return;
        }
        if self.reading.single {
            self.doubt("only one file is applied".to_owned());
        } else if self.reading.files.is_empty() {
            self.doubt("the directory holds no documents at all (confirm with --confirm-deletion)".to_owned());
        }
        let (services, projects) = self.parse();
        for (_, project) in projects.values() {
            let wanted =
                DesiredProject { networks: project.spec.networks.clone(), volumes: project.spec.volumes.clone() };
            self.catalog.projects.insert(project.metadata.name.clone(), wanted);
        }
        for (name, mut claims) in services {
            if claims.len() > 1 {
                let places: Vec<_> = claims.iter().map(|(file, line, _)| format!("{file}:{line}")).collect();
                let why = format!(
                    "error: {name} is claimed by several documents, so none of them is applied: {}",
                    places.join(", ")
                );
                self.refuse(&name, &places.join(", "), &why);
            } else if let Some((file, line, service)) = claims.pop() {
                let defaults = projects.get(&name.project).map(|(_, project)| project);
                match self.resolve(&file, line, service, defaults) {
                    Ok(desired) => {
                        let entry = Entry { desired: Ok(Box::new(desired)), file };
                        self.catalog.services.insert(name, entry);
                    }
                    Err(why) => self.refuse(&name, &file, &why),
                }
            }
        }
        self.link();
    }

    #[expect(clippy::type_complexity, reason = "two local tables, named where they are used")]
    fn parse(&mut self) -> (BTreeMap<ServiceName, Vec<(String, usize, Service)>>, BTreeMap<String, (String, Project)>) {
        let mut services: BTreeMap<ServiceName, Vec<(String, usize, Service)>> = BTreeMap::new();
        let mut projects: BTreeMap<String, (String, Project)> = BTreeMap::new();
        for (file, bytes) in &self.reading.files {
            let parsed = match bytes {
                Ok(bytes) => crd_schema::parse_bytes(file, bytes).map_err(|problems| {
                    let each: Vec<_> = problems.iter().map(ToString::to_string).collect();
                    each.join("\n")
                }),
                Err(error) => Err(format!("error: {file}: {error}")),
            };
            match parsed {
                Ok(objects) if objects.is_empty() && self.before.services.values().any(|entry| entry.file == *file) => {
                    let why = "had documents and is empty now: write it again, or delete it to remove its services";
                    self.unreadable(file, &format!("error: {file} {why}"));
                }
                Ok(objects) => {
                    for parsed in objects {
                        match parsed.object {
                            Object::Service(service) => {
                                let name = ServiceName::new(&service.metadata.project, &service.metadata.name);
                                services.entry(name).or_default().push((file.clone(), parsed.line, service));
                            }
                            Object::Project(project) => self.project(&mut projects, file, parsed.line, project),
                        }
                    }
                }
                Err(problem) => self.unreadable(file, &problem),
            }
        }
        (services, projects)
    }

    fn project(
        &mut self,
        projects: &mut BTreeMap<String, (String, Project)>,
        file: &str,
        line: usize,
        project: Project,
    ) {
        let name = project.metadata.name.clone();
        let place = format!("{file}:{line}");
        if let Some((other, _)) = projects.get(&name) {
            self.catalog.problems.push(format!(
                "error: project {name} is described twice, at {other} and at {place}: the first one counts"
            ));
        } else {
            projects.insert(name, (place, project));
        }
    }

    // Whose documents an unreadable file holds is known only from the last time that it could be read.
    fn unreadable(&mut self, file: &str, problem: &str) {
        self.doubt(format!("{file} cannot be read"));
        self.catalog.problems.push(problem.to_owned());
        let from_here: Vec<_> =
            self.before.services.iter().filter(|(_, entry)| entry.file == file).map(|(name, _)| name.clone()).collect();
        for name in from_here {
            self.keep(&name, file, problem);
        }
    }

    fn refuse(&mut self, name: &ServiceName, file: &str, why: &str) {
        self.catalog.problems.push(why.to_owned());
        self.keep(name, file, why);
    }

    // The last valid version stays in force; without one the service is held as it is.
    fn keep(&mut self, name: &ServiceName, file: &str, why: &str) {
        let before = self.before.services.get(name);
        let desired = match before.and_then(|entry| entry.desired.as_ref().ok()) {
            Some(last) => Ok(Box::new(DesiredService { error: Some(why.to_owned()), ..(**last).clone() })),
            None => Err(why.to_owned()),
        };
        let file = before.map_or(file, |entry| entry.file.as_str()).to_owned();
        self.catalog.services.insert(name.clone(), Entry { desired, file });
    }

    fn resolve(
        &self,
        file: &str,
        line: usize,
        service: Service,
        project: Option<&Project>,
    ) -> Result<DesiredService, String> {
        let name = ServiceName::new(&service.metadata.project, &service.metadata.name);
        let place = format!("{file}:{line}");
        let mut spec = service.spec;
        if let Some(project) = project {
            let (networks, volumes) = uses(&spec);
            let network = networks.iter().find(|key| *key != "default" && !project.spec.networks.contains_key(*key));
            let volume = volumes.iter().find(|key| !project.spec.volumes.contains_key(*key));
            let kind = network.map(|key| ("network", key)).or(volume.map(|key| ("volume", key)));
            if let Some((kind, key)) = kind {
                return Err(format!(
                    "error: {place}: {name} uses {kind} {key}, which project {} does not declare: add `{key}:` to the {kind}s of its Project document",
                    name.project
                ));
            }
            if let Some(defaults) = &project.spec.rollout {
                spec.rollout = Some(spec.rollout.unwrap_or_default().or(defaults));
            }
        }
        let mut variables = BTreeMap::new();
        let dir = self.reading.root.join(file);
        let dir = dir.parent().unwrap_or(&self.reading.root);
        for env_file in &spec.env_file {
            let path = dir.join(&env_file.path);
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && !env_file.required => continue,
                Err(error) => {
                    return Err(format!(
                        "error: {place}: env_file {} of {name} cannot be read: {error}",
                        env_file.path
                    ));
                }
            };
            let raw = env_file.format.as_deref() == Some("raw");
            let read = env_file::parse(&text, raw)
                .map_err(|(at, why)| format!("error: {}:{at}: {why} (env_file of {name})", env_file.path))?;
            variables.extend(read);
        }
        // `environment` wins over `env_file`, as in Compose.
        for (key, value) in variables {
            spec.environment.0.entry(key).or_insert(value);
        }
        Ok(DesiredService::new(name, spec, place))
    }

    fn link(&mut self) {
        use crd_schema::DependencyCondition::ServiceCompletedSuccessfully as Completed;
        let mut one_shots = BTreeSet::new();
        for (name, entry) in &self.catalog.services {
            let Ok(desired) = &entry.desired else { continue };
            for (other, dependency) in &desired.spec.depends_on {
                let other = ServiceName::new(&name.project, other);
                if dependency.condition == Completed {
                    one_shots.insert(other.clone());
                }
                self.catalog.dependants.entry(other).or_default().push(name.clone());
            }
        }
        for name in one_shots {
            if let Some(Entry { desired: Ok(desired), .. }) = self.catalog.services.get_mut(&name) {
                desired.one_shot = true;
            }
        }
    }

    fn doubt(&mut self, why: String) {
        if !(self.catalog.confirmed && self.reading.broken.is_none() && self.reading.files.is_empty()) {
            self.catalog.doubt.get_or_insert(why);
        }
    }
}
