//! Project documents: which one is in force, and whether that can be told. A wrong guess would give a database another
//! volume, so what is not known is not guessed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use composed_core::model::DesiredProject;
use crd_schema::Project;

use super::claims::{Claim, Claims};
use super::text::Content;

/// A Project document in force.
#[derive(Clone, Debug)]
pub(super) struct ActiveProject {
    pub(super) document: Arc<Project>,
    pub(super) file: String,
    pub(super) wanted: Arc<DesiredProject>,
}

impl ActiveProject {
    /// `before` is the one that was in force before this one.
    fn new(document: Arc<Project>, file: String, before: Option<&Self>) -> Self {
        let same = before.filter(|before| Arc::ptr_eq(&before.document, &document));
        let wanted = same.map_or_else(
            || {
                let spec = &document.spec;
                Arc::new(DesiredProject { networks: spec.networks.clone(), volumes: spec.volumes.clone() })
            },
            |same| Arc::clone(&same.wanted),
        );
        Self { document, file, wanted }
    }
}

/// The Project documents of one reading.
#[derive(Debug, Default)]
pub(super) struct Projects {
    /// Those in force.
    pub(super) known: BTreeMap<String, ActiveProject>,
    /// What is wrong with them.
    pub(super) problems: Vec<String>,
    doubled: BTreeMap<String, String>,
    mystery: Option<String>,
}

impl Projects {
    /// Decides between what valid files say, `claims`, and what was in force before. `broken` files cannot be
    /// understood now; `mystery` is one of them that may describe any project.
    pub(super) fn decide(
        claims: Claims<String, Arc<Project>>,
        before: &BTreeMap<String, ActiveProject>,
        broken: &BTreeSet<String>,
        mystery: Option<String>,
    ) -> Self {
        let mut projects = Self { mystery, ..Self::default() };
        for (name, known) in before.iter().filter(|(_, known)| broken.contains(&known.file)) {
            projects.known.insert(name.clone(), known.clone());
        }
        for (name, mut claims) in claims {
            if claims.len() > 1 {
                let places: Vec<_> = claims.iter().map(|claim| claim.place.clone()).collect();
                let places = places.join(", ");
                projects.problems.push(format!(
                    "error: project {name} is described by several documents, so none of them is applied: {places}"
                ));
                match before.get(&name) {
                    Some(known) => drop(projects.known.insert(name, known.clone())),
                    None => drop(projects.doubled.insert(name, places)),
                }
            } else if let Some(Claim { file, document, .. }) = claims.pop() {
                let before = before.get(&name);
                projects.known.entry(name).or_insert_with(|| ActiveProject::new(document, file, before));
            }
        }
        if projects.mystery.is_some() {
            // It may have moved there.
            for (name, known) in before {
                projects.known.entry(name.clone()).or_insert_with(|| known.clone());
            }
        }
        projects
    }

    /// Why it cannot be told what the networks and volumes of a project are called, if it cannot.
    pub(super) fn untold(&self, project: &str) -> Option<String> {
        if self.known.contains_key(project) {
            return None;
        }
        if let Some(places) = self.doubled.get(project) {
            return Some(format!("project {project} is described by several documents: {places}"));
        }
        let file = self.mystery.as_ref()?;
        Some(format!("{file} cannot be understood and may describe project {project}, its networks and volumes"))
    }
}

/// Whether what is in a file that cannot be understood may be a Project document. A Service document with a mistake is
/// none, nor is a Compose file.
pub(super) fn may_describe_a_project(content: &Content) -> bool {
    let Ok(bytes) = content else { return true };
    let text = String::from_utf8_lossy(bytes);
    let mut documents = vec![String::new()];
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        if line.starts_with("---") {
            documents.push(String::new());
        } else if let Some(document) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    documents.iter().map(|document| document.trim()).filter(|document| !document.is_empty()).any(|document| match kind(
        document,
    ) {
        Some(kind) => kind != "Service",
        None => document.contains("apiVersion") || "apiVersion".starts_with(document),
    })
}

/// The value of the first key `kind`, as well as a text that is not valid YAML has one.
fn kind(document: &str) -> Option<&str> {
    let quotes = |c: char| c == '"' || c == '\'';
    let after = document.split("kind").skip(1).find_map(|rest| {
        let rest = rest.trim_start_matches(quotes).trim_start();
        rest.strip_prefix(':')
    })?;
    let value = after.trim_start_matches([' ', '\t']).trim_start_matches(quotes);
    Some(value.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::may_describe_a_project;

    #[test]
    fn only_what_says_that_it_is_something_else_is_no_project() {
        let tells = |text: &str| may_describe_a_project(&Ok(text.as_bytes().to_vec().into()));
        for service in [
            "apiVersion: x\nkind: Service\nspec: {imgae: x}",
            "# a Project\n---\nkind: 'Service'\n---\n{\"kind\" : \"Service\"",
            "services:\n  web: {}",
            "# nothing\n",
        ] {
            assert!(!tells(service), "{service}");
        }
        for project in [
            "kind: Service\n---\nkind: Project\nspec: {volums: }",
            "apiVersion: composed.dev/v1\nkind: Porject",
            "apiVersion: composed.dev/v1\nkind: Serv",
            "apiVersion: composed.dev/v1\nki",
            "apiV",
        ] {
            assert!(tells(project), "{project}");
        }
        assert!(may_describe_a_project(&Err("permission denied".to_owned())));
    }
}
