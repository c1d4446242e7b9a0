//! Whether a container that Docker Compose made is what would be made of the document: what the engine says of it, beside
//! the body of our own create call. What the engine adds by itself is no difference.

mod host;
mod mounted;
mod own;

use std::collections::BTreeMap;

use bollard::models::{ContainerInspectResponse, EndpointSettings, ImageConfig};

use super::{
    connect::{Api, reference},
    create::{self, Creation, Engine},
    errors::rejected,
};
use crate::{
    engine::{Asked, EngineError},
    model::{Comparison, Owner, ServiceName},
    plan::action::{Blueprint, Target},
};

/// The comparison of one container. Errors only where the engine does not answer.
pub(super) async fn comparison(
    api: &Api,
    container: &ContainerInspectResponse,
    service: &ServiceName,
    asked: &Asked,
    owners: &[Owner],
) -> Result<Comparison, EngineError> {
    let image = image(api, container.image.as_deref().unwrap_or_default()).await?;
    let wanted = image_id(api, &asked.spec.image).await?;
    let mut differences = match expected(api.minor(), service, asked, owners) {
        Ok(expected) => {
            differences(service, container, &image.unwrap_or_default(), wanted.as_deref(), &expected, asked)
        }
        // It cannot be made as it is asked for: the attempt will say so, and cost nothing.
        Err(error) => vec![error.to_string()],
    };
    // What was put into it cannot be seen from outside.
    differences.extend((!asked.spec.files.is_empty()).then(|| "files".to_owned()));
    Ok(if differences.is_empty() { Comparison::Same } else { Comparison::Differs(differences) })
}

/// The body of the create call for a replica of it. Only what does not depend on its name and number counts.
fn expected(minor: usize, service: &ServiceName, asked: &Asked, owners: &[Owner]) -> Result<Creation, EngineError> {
    // Whichever replica of the service it has joined: whether that stays is not its own affair.
    let joined = asked.spec.shares().map(|(_, other)| {
        let owner = owners.iter().find(|owner| owner.service == other);
        let id = owner.map_or_else(|| format!("of {other}"), |owner| owner.id.clone());
        (other.to_owned(), Target { id, name: other.to_owned() })
    });
    let print = Blueprint {
        service: service.clone(),
        hook: None,
        number: 1,
        name: service.container(1),
        revision: String::new(),
        generation: 0,
        spec: asked.spec.clone(),
        volumes: BTreeMap::new(),
        joins: joined.collect(),
        image: None,
    };
    let engine = Engine { minor, instance: "", image_id: None };
    create::creation(&print, &asked.context, engine)
}

/// In which keys of the document they differ, for people. Values that may be secret are left out.
fn differences(
    service: &ServiceName,
    container: &ContainerInspectResponse,
    image: &ImageConfig,
    wanted_image: Option<&str>,
    expected: &Creation,
    asked: &Asked,
) -> Vec<String> {
    let mut all = Differences::default();
    own::compare(&mut all, container, image, wanted_image, &expected.body, (service, &asked.spec));
    let (is, ought) =
        (container.host_config.clone().unwrap_or_default(), expected.body.host_config.clone().unwrap_or_default());
    host::compare(&mut all, &is, &ought);
    mounted::compare(&mut all, container.mounts.as_deref().unwrap_or_default(), &is, &ought, image);
    networks(&mut all, container, expected);
    all.0
}

fn networks(all: &mut Differences, container: &ContainerInspectResponse, expected: &Creation) {
    let mode = |mode: Option<&String>| match mode.map_or("", String::as_str) {
        "" | "default" => "bridge".to_owned(),
        mode => mode.to_owned(),
    };
    let joined = container.network_settings.as_ref().and_then(|settings| settings.networks.clone()).unwrap_or_default();
    let first = expected.body.networking_config.as_ref().and_then(|config| config.endpoints_config.clone());
    let mut wanted: BTreeMap<String, EndpointSettings> = first.unwrap_or_default().into_iter().collect();
    wanted.extend(expected.later.clone());
    let is = mode(container.host_config.as_ref().and_then(|host| host.network_mode.as_ref()));
    let ought = mode(expected.body.host_config.as_ref().and_then(|host| host.network_mode.as_ref()));
    // Where there are networks by name, which of them comes first is no difference.
    if wanted.is_empty() {
        all.word("network_mode", &is, &ought);
        return;
    }
    let others = joined.keys().filter(|name| !wanted.contains_key(*name)).map(|name| format!("{name} too many"));
    let missing = wanted.keys().filter(|name| !joined.contains_key(*name)).map(|name| format!("{name} missing"));
    all.named("networks", others.chain(missing).collect());
    let id = container.id.as_deref().unwrap_or_default();
    let name = container.name.as_deref().unwrap_or_default().trim_start_matches('/');
    for (network, ought) in &wanted {
        let Some(is) = joined.get(network) else { continue };
        let (has, wants) = (sorted(is.aliases.as_deref()), sorted(ought.aliases.as_deref()));
        // Compose adds the container's name, the engine its short id or its hostname.
        let hostname = container.config.as_ref().and_then(|config| config.hostname.as_ref());
        let own = |alias: &String| alias == name || id.starts_with(alias.as_str()) || Some(alias) == hostname;
        let same = wants.iter().all(|alias| has.contains(alias))
            && has.iter().all(|alias| wants.contains(alias) || own(alias));
        all.unless(same, &format!("networks.{network}.aliases"));
        let fixed = |one: &EndpointSettings| {
            let fixed = one.ipam_config.clone().unwrap_or_default();
            let address = |text: Option<String>| text.unwrap_or_default();
            (address(fixed.ipv4_address), address(fixed.ipv6_address), sorted(fixed.link_local_ips.as_deref()))
        };
        all.unless(fixed(is) == fixed(ought), &format!("the fixed address in networks.{network}"));
        let options = |one: &EndpointSettings| -> BTreeMap<String, String> {
            one.driver_opts.clone().unwrap_or_default().into_iter().collect()
        };
        all.unless(options(is) == options(ought), &format!("networks.{network}.driver_opts"));
        let priority = |one: &EndpointSettings| one.gw_priority.unwrap_or_default();
        all.unless(priority(is) == priority(ought), &format!("networks.{network}.gw_priority"));
        let mac = ought.mac_address.as_ref().filter(|mac| !mac.is_empty());
        all.unless(
            mac.is_none_or(|mac| is.mac_address.as_ref() == Some(mac)),
            &format!("networks.{network}.mac_address"),
        );
    }
}

/// Keys in which a container differs.
#[derive(Debug, Default)]
struct Differences(Vec<String>);

impl Differences {
    fn unless(&mut self, same: bool, what: &str) {
        if !same {
            self.0.push(what.to_owned());
        }
    }

    /// Values that are no secret are shown.
    fn word(&mut self, key: &str, is: &str, ought: &str) {
        if is != ought {
            let shown = |text: &str| if text.is_empty() { "nothing".to_owned() } else { format!("`{text}`") };
            self.0.push(format!("{key} ({} instead of {})", shown(is), shown(ought)));
        }
    }

    fn number(&mut self, key: &str, is: Option<i64>, ought: Option<i64>) {
        let given = |number: Option<i64>| number.filter(|number| *number != 0);
        let text = |number: Option<i64>| given(number).map_or_else(String::new, |number| number.to_string());
        self.word(key, &text(is), &text(ought));
    }

    fn flag(&mut self, key: &str, is: Option<bool>, ought: Option<bool>) {
        self.unless(is.unwrap_or(false) == ought.unwrap_or(false), key);
    }

    fn words(&mut self, key: &str, is: Option<&[String]>, ought: Option<&[String]>) {
        self.unless(sorted(is) == sorted(ought), key);
    }

    /// Names of what differs within a key, the first few.
    fn named(&mut self, key: &str, mut names: Vec<String>) {
        const SHOWN: usize = 3;
        names.sort();
        let more = names.len().saturating_sub(SHOWN);
        names.truncate(SHOWN);
        if more > 0 {
            names.push(format!("{more} more"));
        }
        if !names.is_empty() {
            self.0.push(format!("{key} ({})", names.join(", ")));
        }
    }
}

fn sorted(words: Option<&[String]>) -> Vec<String> {
    let mut words = words.unwrap_or_default().to_vec();
    words.sort();
    words.dedup();
    words
}

/// The names in which two maps differ.
fn unlike<V: PartialEq>(is: &BTreeMap<String, V>, ought: &BTreeMap<String, V>) -> Vec<String> {
    let names = is.keys().chain(ought.keys().filter(|name| !is.contains_key(*name)));
    names.filter(|name| is.get(*name) != ought.get(*name)).cloned().collect()
}

/// An image's configuration; `None` when it is not there any more.
async fn image(api: &Api, id: &str) -> Result<Option<ImageConfig>, EngineError> {
    let reference = reference(id).map_err(|_| rejected(format!("{id} is no image")))?;
    match api.call(api.client.inspect_image(reference)).await {
        Ok(image) => Ok(image.config),
        Err(error @ EngineError::Unavailable(_)) => Err(error),
        Err(_) => Ok(None),
    }
}

async fn image_id(api: &Api, name: &str) -> Result<Option<String>, EngineError> {
    let Ok(reference) = reference(name) else { return Ok(None) };
    match api.call(api.client.inspect_image(reference)).await {
        Ok(image) => Ok(image.id),
        Err(error @ EngineError::Unavailable(_)) => Err(error),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests;
