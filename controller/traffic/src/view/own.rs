//! The containers of this instance: which there are, what proxies are told of them, and which are announced. By the
//! engine's word and the status store's; decides what of the engine's events is passed on.

use std::collections::BTreeMap;

use composed_core::model::ServiceName;
use crd_schema::ContainerId;
use serde_json::Value;

use super::event::Event;
use super::mask;

/// Those that are known.
#[derive(Debug, Default)]
pub(super) struct OwnContainers {
    all: BTreeMap<ContainerId, Container>,
}

/// One of them.
#[derive(Debug, Default)]
struct Container {
    facts: Option<InspectedContainer>,
    /// Its start has been told, and no end since.
    announced: bool,
}

/// What is known of a container from an inspect.
#[derive(Clone, Debug)]
pub(super) struct InspectedContainer {
    /// What its events say of it: name, image, labels.
    pub(super) attributes: BTreeMap<String, String>,
    /// It has a healthcheck.
    pub(super) has_health: bool,
    /// It carries a proxy's labels or variables.
    pub(super) is_concerned: bool,
}

impl InspectedContainer {
    /// As an inspect has it.
    pub(super) fn read(container: &Value) -> Self {
        let text = |place: &str| container.pointer(place).and_then(Value::as_str).unwrap_or_default();
        let labels = container.pointer("/Config/Labels").and_then(Value::as_object);
        let labels: Vec<(&str, &str)> = labels
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()))
            .collect();
        let variables = container.pointer("/Config/Env").and_then(Value::as_array);
        let variables = variables.into_iter().flatten().filter_map(Value::as_str);
        let mut attributes: BTreeMap<String, String> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        attributes.insert("name".to_owned(), text("/Name").trim_start_matches('/').to_owned());
        attributes.insert("image".to_owned(), text("/Config/Image").to_owned());
        Self {
            attributes,
            has_health: !matches!(text("/State/Health/Status"), "" | "none"),
            is_concerned: mask::is_concerned(labels.iter().copied(), variables),
        }
    }
}

/// What becomes of an event of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventVisibility {
    /// It is told.
    Tell,
    /// It is not.
    Drop,
}

impl OwnContainers {
    /// Whether a container is one of this instance, as far as is known.
    pub(super) fn has(&self, id: &str) -> bool {
        self.all.contains_key(id)
    }

    /// There is such a container.
    pub(super) fn learn(&mut self, id: &ContainerId, facts: Option<InspectedContainer>) {
        let container = self.all.entry(id.clone()).or_default();
        container.facts = facts.or(container.facts.take());
    }

    /// What is known of one.
    pub(super) fn facts(&self, id: &ContainerId) -> Option<&InspectedContainer> {
        self.all.get(id)?.facts.as_ref()
    }

    /// Those that are not there any more are forgotten.
    pub(super) fn retain(&mut self, there: impl Fn(&ContainerId) -> bool) {
        self.all.retain(|id, container| container.announced || there(id));
    }

    /// Those whose announcement has to change so that it is what the status store shows: who is to come, and who is to go.
    pub(super) fn differences(
        &self,
        serving: &BTreeMap<ContainerId, ServiceName>,
    ) -> (Vec<ContainerId>, Vec<ContainerId>) {
        let announced = |id: &ContainerId| self.all.get(id).is_some_and(|container| container.announced);
        let come = serving.keys().filter(|id| !announced(id)).cloned().collect();
        let go = self.all.iter().filter(|(id, container)| container.announced && !serving.contains_key(*id));
        (come, go.map(|(id, _)| id.clone()).collect())
    }

    /// Notes that a container's start, or its end, has been told.
    pub(super) fn announce(&mut self, id: &ContainerId, comes: bool) {
        self.all.entry(id.clone()).or_default().announced = comes;
    }

    /// What becomes of an event; `serves` is what the status store says of its container.
    pub(super) fn judge(
        &mut self,
        event: &Event,
        is_own: bool,
        serves: impl Fn(&ContainerId) -> bool,
    ) -> EventVisibility {
        let id = match event.kind.as_str() {
            "container" => &event.id,
            // A network's connect names who joins.
            _ => match event.attributes.get("container") {
                Some(id) => id,
                None => return EventVisibility::Tell,
            },
        };
        let id = &ContainerId::new(id);
        if is_own {
            self.learn(id, None);
        }
        let Some(container) = self.all.get_mut(id) else { return EventVisibility::Tell };
        let told = container.announced;
        match (event.kind.as_str(), event.action.as_str()) {
            // It has ended by itself: nobody has said so yet.
            ("container", "die") => container.announced = false,
            // It runs again, and nobody has noticed that it was away.
            ("container", "start") if serves(id) => {
                container.announced = true;
                return EventVisibility::Tell;
            }
            ("container", "start") => return EventVisibility::Drop,
            ("container", "destroy") => drop(self.all.remove(id)),
            _ => {}
        }
        if told { EventVisibility::Tell } else { EventVisibility::Drop }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(kind: &str, action: &str, id: &str) -> Event {
        let attributes = if kind == "network" { json!({"container": id}) } else { json!({}) };
        let value = json!({"Type": kind, "Action": action, "Actor": {"ID": id, "Attributes": attributes}});
        Event::read(value, &mask::Mask::default()).expect("an event")
    }

    fn id(text: &str) -> ContainerId {
        ContainerId::new(text)
    }

    #[test]
    fn nothing_is_told_of_the_engine_that_contradicts_what_is_shown() {
        let mut own = OwnContainers::default();
        let judge = |own: &mut OwnContainers, action: &str, serves: bool| {
            own.judge(&event("container", action, "a"), true, |_| serves) == EventVisibility::Tell
        };
        assert!(!judge(&mut own, "create", false) && !judge(&mut own, "start", false), "not shown yet");
        assert!(!judge(&mut own, "health_status: healthy", false));
        own.announce(&id("a"), true);
        assert!(judge(&mut own, "health_status: unhealthy", true), "it is shown");
        own.announce(&id("a"), false);
        assert!(!judge(&mut own, "die", false), "its end was told");
        own.announce(&id("a"), true);
        assert!(judge(&mut own, "die", true), "an end that nobody has told");
        assert!(judge(&mut own, "start", true) && judge(&mut own, "die", true), "a restart that nobody has noticed");
        assert!(!judge(&mut own, "destroy", false));
        assert!(!own.has("a"));
    }

    #[test]
    fn others_pass() {
        let mut own = OwnContainers::default();
        assert_eq!(own.judge(&event("container", "start", "b"), false, |_| false), EventVisibility::Tell);
        assert_eq!(own.judge(&event("network", "create", "n"), false, |_| false), EventVisibility::Tell);
        own.learn(&id("a"), None);
        assert_eq!(own.judge(&event("network", "connect", "a"), false, |_| false), EventVisibility::Drop);
    }

    #[test]
    fn what_is_announced_follows_the_board() {
        let mut own = OwnContainers::default();
        let serving =
            |ids: &[&str]| ids.iter().map(|id| (ContainerId::new(*id), ServiceName::new("shop", "web"))).collect();
        assert_eq!(own.differences(&serving(&["a"])), (vec![id("a")], vec![]));
        own.announce(&id("a"), true);
        assert_eq!(own.differences(&serving(&["a"])), (vec![], vec![]));
        assert_eq!(own.differences(&serving(&[])), (vec![], vec![id("a")]));
        own.retain(|_| false);
        assert_eq!(own.differences(&serving(&[])).1, ["a"], "its end is still to be told");
    }
}
