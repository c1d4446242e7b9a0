//! Whose a name is. Routers, services and middlewares of all services share one space of names in Traefik. Within a project
//! what has one name becomes one, as Traefik's Docker provider does it: equal definitions are one, services with equal
//! settings join their servers, and what is defined in different ways is left out for all. Between projects nothing is
//! shared: a name belongs to the project that had it first, so that no newcomer takes over what is being served. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use composed_core::model::ServiceName;
use jiff::Timestamp;
use serde_json::Value;

use super::service::Service;

/// What Traefik knows by one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Definition {
    /// `http`, `tcp`, `udp` or `tls`.
    pub(super) section: String,
    /// `routers`, `services`, `middlewares` or `stores`.
    pub(super) part: String,
    pub(super) name: String,
}

impl Definition {
    pub(super) fn new(section: &str, part: &str, name: &str) -> Self {
        let part = part.to_ascii_lowercase();
        Self { section: section.to_ascii_lowercase(), part, name: name.to_owned() }
    }

    fn key(&self) -> String {
        format!("{}.{}.{}", self.section, self.part, self.name)
    }
}

impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = self.part.strip_suffix('s').unwrap_or(&self.part);
        write!(f, "the {} {part} `{}`", self.section, self.name)
    }
}

/// Which project has which name, and which services were told to Traefik last.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// By `http.routers.shop`.
    owners: BTreeMap<String, String>,
    told: BTreeSet<ServiceName>,
}

impl Claims {
    /// As they were when the last process ended.
    pub(super) fn known(owners: BTreeMap<String, String>) -> Self {
        Self { owners, told: BTreeSet::new() }
    }

    /// The project of each name, to be remembered.
    pub(super) fn owners(&self) -> &BTreeMap<String, String> {
        &self.owners
    }

    /// Whether Traefik was told of a service last.
    pub(super) fn was_told(&self, service: &ServiceName) -> bool {
        self.told.contains(service)
    }

    /// It is told of these.
    pub(super) fn tell(&mut self, services: BTreeSet<ServiceName>) {
        self.told = services;
    }

    /// Leaves each name to one project, and says so to the services of all that have it. Where nothing is known, it is the
    /// one that has served the longest; where none serves, or several do since the same moment, nobody has it.
    pub(super) fn settle<'a>(
        &mut self,
        told: BTreeMap<Definition, Vec<(&'a Service, Value)>>,
        problems: &mut BTreeMap<ServiceName, Vec<String>>,
    ) -> BTreeMap<Definition, Vec<(&'a Service, Value)>> {
        let mut owners = BTreeMap::new();
        let mut settled = BTreeMap::new();
        for (definition, mut said) in told {
            let key = definition.key();
            let projects: BTreeSet<_> = said.iter().map(|(service, _)| service.name.project.clone()).collect();
            let known = self.owners.get(&key).filter(|owner| projects.contains(*owner)).cloned();
            let owner = known.or_else(|| longest(&said, &projects));
            if projects.len() > 1 {
                for (service, _) in &said {
                    let others: Vec<_> = projects.iter().filter(|other| **other != service.name.project).collect();
                    let why = match &owner {
                        Some(owner) if *owner == service.name.project => {
                            let others: Vec<_> = others.into_iter().map(String::as_str).collect();
                            format!(
                                "{definition} is also asked for by project {}, and refused there",
                                others.join(", ")
                            )
                        }
                        Some(owner) => format!("{definition} belongs to project {owner}: give yours another name"),
                        None => format!("{definition} is asked for by several projects, and none had it first"),
                    };
                    problems.entry(service.name.clone()).or_default().push(why);
                }
                said.retain(|(service, _)| owner.as_ref() == Some(&service.name.project));
            }
            if let Some(owner) = owner {
                owners.insert(key, owner);
                settled.insert(definition, said);
            }
        }
        self.owners = owners;
        settled
    }
}

/// The project that has served the longest, if one has.
fn longest(said: &[(&Service, Value)], projects: &BTreeSet<String>) -> Option<String> {
    if projects.len() == 1 {
        return projects.first().cloned();
    }
    let since = |project: &String| -> Option<Timestamp> {
        said.iter()
            .filter(|(service, _)| service.name.project == *project)
            .filter_map(|(service, _)| service.since)
            .min()
    };
    let mut by_age: Vec<_> = projects.iter().filter_map(|project| Some((since(project)?, project))).collect();
    by_age.sort();
    match by_age.as_slice() {
        [(_, only)] => Some((*only).clone()),
        [(first, project), (second, _), ..] if first < second => Some((*project).clone()),
        _ => None,
    }
}

/// One definition of all that have one name; nothing where they differ. Source: Traefik `pkg/provider/configuration.go`.
pub(super) fn join(part: &str, mut all: impl Iterator<Item = Value>) -> Option<Value> {
    let mut one = all.next()?;
    for mut other in all {
        if one == other {
            continue;
        }
        let servers = "/loadBalancer/servers";
        let more = other.pointer_mut(servers).filter(|_| part == "services").map(Value::take)?;
        let own = one.pointer_mut(servers)?.take();
        // Their places are empty now.
        if one != other {
            return None;
        }
        let (Value::Array(mut own), Value::Array(more)) = (own, more) else { return None };
        for server in more {
            if !own.contains(&server) {
                own.push(server);
            }
        }
        *one.pointer_mut(servers)? = Value::Array(own);
    }
    Some(one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equal_services_join_their_servers_and_different_ones_are_left_out() {
        let service = |sticky: &str, servers: &[&str]| {
            let servers: Vec<_> = servers.iter().map(|url| json!({ "url": url })).collect();
            json!({"loadBalancer": {"servers": servers, "sticky": {"cookie": sticky}}})
        };
        let joined = |all: Vec<Value>| join("services", all.into_iter());
        let both = joined(vec![service("true", &["a", "b"]), service("true", &["b", "c"])]);
        assert_eq!(both, Some(service("true", &["a", "b", "c"])));
        assert_eq!(joined(vec![service("true", &["a"]), service("false", &["b"])]), None);
        assert_eq!(joined(vec![service("true", &["a"]), json!({"weighted": {}})]), None);
        assert_eq!(
            join("routers", [json!({"rule": "a"}), json!({"rule": "a"})].into_iter()),
            Some(json!({"rule": "a"}))
        );
        assert_eq!(join("routers", [json!({"rule": "a"}), json!({"rule": "b"})].into_iter()), None);
    }
}
