//! `build:`: composed builds nothing. What `docker compose build` has made on this host is taken, followed when it is made anew,
//! and never pulled over.

use super::tree::{get_mut, put, take};
use crate::yaml::{Kind, Node, Place, Problem};
use crate::{Update, UpdatePolicy};

/// Takes `build` out of a service, with the name that Compose gives its image where it has none, and without a pull. Whether it
/// was there.
pub(super) fn take_build(service: &mut Node, project: &str, name: &str) -> bool {
    let asked = |node: &Node| node.text() == Some("build");
    if let Some(policy) = get_mut(service, "pull_policy").filter(|policy| asked(policy)) {
        policy.kind = Kind::Scalar { text: "never".to_owned(), plain: false };
    }
    let Some((key, _)) = take(service, "build").filter(|(_, build)| !build.is_nothing()) else { return false };
    if service.get("image").is_none_or(|(_, image)| image.is_nothing()) {
        take(service, "image");
        put(service, Node::quoted("image", key.place), Node::quoted(format!("{project}-{name}"), key.place));
    }
    if service.get("pull_policy").is_none() {
        put(service, Node::quoted("pull_policy", key.place), Node::quoted("never", key.place));
    }
    true
}

/// What is said of services that ask to be built.
pub(super) fn note(built: &[(String, Place)]) -> Option<Problem> {
    let (_, first) = built.first()?;
    let names: Vec<&str> = built.iter().map(|(name, _)| name.as_str()).collect();
    let message = format!("composed builds no images: of {} it takes what is on this host", names.join(", "));
    let help = "`docker compose build` makes them; a new one rolls out by itself";
    Some(Problem::new(*first, message, Some(help.into())))
}

/// A new image under the name rolls out, as with `docker compose up` after a build.
pub(super) fn followed() -> Update {
    Update { policy: Some(UpdatePolicy::Digest), ..Update::default() }
}
