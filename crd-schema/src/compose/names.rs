//! The project's variables, its name and its profiles. Source: compose-spec 04-version-and-name, 15-profiles;
//! compose-go `cli/options.go`.

use std::collections::BTreeSet;

use super::dotenv::{Format, NameAlone, Reader};
use super::interpolate::{Interpolation, Variables};
use super::model::{Documents, Loader};
use super::path::join;
use super::tree::texts;
use crate::yaml::{Node, Place, Problem};

/// The variable that names the Compose files.
pub(super) const COMPOSE_FILE: &str = "COMPOSE_FILE";
/// The variable that names the project.
const PROJECT_NAME: &str = "COMPOSE_PROJECT_NAME";

impl Loader<'_> {
    /// What `explicit` and the files say; `explicit` wins, then the last file.
    pub(super) fn variables(
        &mut self,
        files: &[(String, Place)],
        explicit: &Variables,
    ) -> Result<Variables, Vec<Problem>> {
        let mut variables = Variables::new();
        for (path, from) in files {
            if !self.read_variables(path, *from, explicit, &mut variables, false)? {
                let message = format!("there is no file {}", self.sources.shown(path));
                let help = "write the path of a file of `NAME=value` lines";
                return Err(vec![Problem::new(*from, message, Some(help.into()))]);
            }
        }
        variables.extend(explicit.clone());
        Ok(variables)
    }

    /// As [`Self::variables`], with the `.env` of a directory, if it is there.
    pub(super) fn default_variables(
        &mut self,
        directory: &str,
        from: Place,
        explicit: &Variables,
    ) -> Result<Variables, Vec<Problem>> {
        let mut variables = Variables::new();
        self.read_variables(&join(directory, ".env"), from, explicit, &mut variables, false)?;
        variables.extend(explicit.clone());
        Ok(variables)
    }

    /// Adds the variables of a file to `variables`; false if there is no such file.
    pub(super) fn read_variables(
        &mut self,
        path: &str,
        from: Place,
        outer: &Variables,
        variables: &mut Variables,
        raw: bool,
    ) -> Result<bool, Vec<Problem>> {
        let Some((text, file)) = self.sources.variables(path, from).map_err(|problem| vec![problem])? else {
            return Ok(false);
        };
        let format = if raw { Format::Raw } else { Format::Compose };
        let mut reader = Reader { outer, name_alone: NameAlone::Inherits, room: &mut self.sources.room };
        let read = reader.read(&text, format, variables);
        let at = |line| Place { line, column: 1, width: 1, file };
        if self.including.is_empty() {
            let lines = [COMPOSE_FILE, PROJECT_NAME].map(|name| (name, line_of(&text, name)));
            let set = lines.into_iter().filter_map(|(name, line)| Some((name, at(line?))));
            self.set_at.extend(set);
        }
        read.map(|_| true).map_err(|(line, why)| {
            let place = at(line);
            vec![Problem::new(place, why, Some("write `NAME=value`, the value in quotes if it is not one word".into()))]
        })
    }

    /// The project's name: `-p`, then `COMPOSE_PROJECT_NAME`, then `name` of the last file that has one, then the
    /// directory's.
    pub(super) fn project_name(
        &mut self,
        asked: Option<&str>,
        variables: &Variables,
        documents: &Documents,
        directory: &str,
    ) -> Result<String, Vec<Problem>> {
        let from_variables = variables.get(PROJECT_NAME).map(String::as_str).filter(|name| !name.is_empty());
        if let Some(name) = asked.or(from_variables) {
            let place = if asked.is_none() { self.set_at(PROJECT_NAME) } else { Place::START };
            return valid(name, place);
        }
        let documents = documents.iter().flat_map(|(_, documents)| documents);
        let mut written = documents.filter_map(|document| document.get("name")).filter(|(_, name)| !name.is_nothing());
        if let Some((_, name)) = written.next_back() {
            return self.written_name(name, variables);
        }
        let name = normal(directory);
        if name.is_empty() {
            let message = "the project has no name: that of its directory has no letter or digit".to_owned();
            return Err(vec![Problem::new(Place::START, message, Some("write `name: ...`, or use -p NAME".into()))]);
        }
        Ok(name)
    }

    /// Where a file sets a variable that says what the project is; where the project begins if none does.
    pub(super) fn set_at(&self, variable: &str) -> Place {
        self.set_at.get(variable).copied().unwrap_or(Place::START)
    }

    fn written_name(&mut self, name: &Node, variables: &Variables) -> Result<String, Vec<Problem>> {
        let mut name = name.clone();
        let mut filling = Interpolation {
            variables,
            room: &mut self.sources.room,
            templates: &mut self.sources.templates,
            filled: &mut self.sources.filled,
            unset: std::collections::BTreeMap::new(),
            lost: std::collections::BTreeMap::new(),
            problems: Vec::new(),
        };
        filling.fill(&mut name, &mut vec!["name".to_owned()]);
        if filling.problems.is_empty() {
            let written = name.text().unwrap_or_default();
            // As Compose has it: a directory's name and a file's are made to fit.
            let name_of_it = normal(written);
            return if name_of_it.is_empty() { valid(written, name.place) } else { Ok(name_of_it) };
        }
        Err(filling.problems)
    }
}

/// Whether a text can be the name of a project.
pub fn is_project_name(name: &str) -> bool {
    !name.is_empty() && normal(name) == name
}

fn valid(name: &str, place: Place) -> Result<String, Vec<Problem>> {
    if is_project_name(name) {
        return Ok(name.to_owned());
    }
    let help = "use lowercase letters, digits, `_` and `-`, and start with a letter or digit";
    Err(vec![Problem::new(place, format!("`{name}` cannot be the name of a project"), Some(help.into()))])
}

/// What a directory's name makes of itself as the name of a project.
fn normal(name: &str) -> String {
    let known = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    let name: String = name.to_lowercase().chars().filter(known).collect();
    name.trim_start_matches(['_', '-']).to_owned()
}

/// The profiles that are active: those asked for, or those of `COMPOSE_PROFILES`.
pub(super) fn profiles(asked: &[String], variables: &Variables) -> BTreeSet<String> {
    if !asked.is_empty() {
        return asked.iter().cloned().collect();
    }
    let named = variables.get("COMPOSE_PROFILES").map(String::as_str).unwrap_or_default();
    named.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The files that `COMPOSE_FILE` names, if it does.
pub(super) fn compose_file(variables: &Variables, place: Place) -> Option<Result<Vec<String>, Vec<Problem>>> {
    let separator = variables.get("COMPOSE_PATH_SEPARATOR").map(String::as_str).filter(|text| !text.is_empty());
    let named = variables.get(COMPOSE_FILE).filter(|named| !named.is_empty())?;
    let files: Vec<String> = named.split(separator.unwrap_or(":")).map(str::to_owned).collect();
    if files.first().is_some_and(|first| super::path::parent(&join(".", first)) == ".") {
        return Some(Ok(files));
    }
    let message = "COMPOSE_FILE names a file of another directory first, which would be the project's".to_owned();
    let help = "give the files with -f, or the directory of the first one as the path";
    Some(Err(vec![Problem::new(place, message, Some(help.into()))]))
}

/// The last line of a file of variables that sets this one.
fn line_of(text: &str, name: &str) -> Option<usize> {
    let sets = |line: &str| {
        let line = line.trim_start();
        let rest = line.strip_prefix("export ").unwrap_or(line).trim_start().strip_prefix(name);
        rest.is_some_and(|rest| rest.trim_start().starts_with(['=', ':']))
    };
    text.lines().enumerate().filter(|(_, line)| sets(line)).last().map(|(at, _)| at + 1)
}

/// The profiles that services of a tree have.
pub(super) fn known_profiles(services: &[(Node, Node)]) -> BTreeSet<String> {
    let profiles = services.iter().filter_map(|(_, service)| Some(service.get("profiles")?.1));
    profiles.flat_map(|profiles| texts(profiles)).map(|(name, _)| name.to_owned()).collect()
}

/// Whether a service is there with these profiles.
pub(super) fn is_active(service: &Node, active: &BTreeSet<String>) -> bool {
    let Some((_, profiles)) = service.get("profiles") else { return true };
    let profiles = texts(profiles);
    profiles.is_empty() || active.contains("*") || profiles.iter().any(|(profile, _)| active.contains(*profile))
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn a_directory_names_its_project() {
        for (directory, project) in [("My Shop", "myshop"), ("_x-1.2", "x-12"), ("...", ""), ("über", "ber")] {
            assert_eq!(normal(directory), project);
        }
    }
}
