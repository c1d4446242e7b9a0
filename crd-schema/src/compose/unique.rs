//! Lists in which a later item takes the place of an earlier one of the same name, target or port. Source: compose-go
//! `override/uncity.go`.

use std::collections::HashMap;

use super::path::matches;
use crate::yaml::{Kind, Node};

/// What makes two items the same.
#[derive(Clone, Copy, Debug)]
enum By {
    /// The text before `=`.
    Name,
    /// The path in the container.
    Target,
    /// As target; without one, the source below this directory.
    Mounted(&'static str),
    /// The path of a device in the container.
    Device,
    /// Address, host port, port and protocol.
    Port,
    /// The path of a file.
    File,
}

const LISTS: &[(&str, By)] = &[
    ("networks.*.labels", By::Name),
    ("services.*.annotations", By::Name),
    ("services.*.cap_add", By::Name),
    ("services.*.cap_drop", By::Name),
    ("services.*.configs", By::Mounted("")),
    ("services.*.deploy.labels", By::Name),
    ("services.*.devices", By::Device),
    ("services.*.dns", By::Name),
    ("services.*.dns_opt", By::Name),
    ("services.*.dns_search", By::Name),
    ("services.*.env_file", By::File),
    ("services.*.environment", By::Name),
    ("services.*.expose", By::Name),
    ("services.*.labels", By::Name),
    ("services.*.networks.*.aliases", By::Name),
    ("services.*.networks.*.link_local_ips", By::Name),
    ("services.*.ports", By::Port),
    ("services.*.profiles", By::Name),
    ("services.*.secrets", By::Mounted("/run/secrets")),
    ("services.*.sysctls", By::Name),
    ("services.*.tmpfs", By::Name),
    ("services.*.volumes", By::Target),
];

/// Leaves one of each in every list below `node`, which stands at `path`: the last word in the place of the first.
pub(super) fn unique(node: &mut Node, path: &mut Vec<String>) {
    match &mut node.kind {
        Kind::Scalar { .. } => {}
        Kind::Map(entries) => {
            for (key, value) in entries {
                path.push(key.text().unwrap_or_default().to_owned());
                unique(value, path);
                path.pop();
            }
        }
        Kind::List(items) => {
            let Some((_, by)) = LISTS.iter().find(|(pattern, _)| matches(pattern, path)) else { return };
            let mut places: HashMap<String, usize> = HashMap::new();
            let mut kept: Vec<Node> = Vec::new();
            for item in std::mem::take(items) {
                let name = name(&item, *by);
                let before = name.as_ref().and_then(|name| places.get(name)).and_then(|at| kept.get_mut(*at));
                if let Some(before) = before {
                    *before = item;
                    continue;
                }
                if let Some(name) = name {
                    places.insert(name, kept.len());
                }
                kept.push(item);
            }
            *items = kept;
        }
    }
}

fn name(item: &Node, by: By) -> Option<String> {
    let of = |key: &str| item.get(key).and_then(|(_, value)| value.text());
    match by {
        By::Name => item.text().map(|text| text.split('=').next().unwrap_or_default().to_owned()),
        By::Target => of("target").map(str::to_owned),
        By::File => item.text().or_else(|| of("path")).map(str::to_owned),
        By::Mounted(below) => match (item.text(), of("target"), of("source")) {
            (Some(source), ..) | (None, None, Some(source)) => Some(format!("{below}/{source}")),
            (None, target, _) => target.map(str::to_owned),
        },
        By::Device => match item.text() {
            Some(text) => text.split(':').nth(1).or(Some(text)).map(str::to_owned),
            None => of("target").map(str::to_owned),
        },
        By::Port => {
            let target = of("target")?;
            let (address, protocol) = (of("host_ip").unwrap_or("0.0.0.0"), of("protocol").unwrap_or("tcp"));
            Some(format!("{address}:{}:{target}/{protocol}", of("published").unwrap_or_default()))
        }
    }
}
