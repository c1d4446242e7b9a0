//! What proves that something is this instance's: the keys, and the ids of what was made before there was one.

use crd_schema::{ContainerId, ImageId, NetworkId, NetworkName};
use std::collections::{BTreeSet, HashMap};

use composed_core::{engine::EngineError, hex};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use super::super::{
    errors::rejected,
    labels::{self, INSTANCE, Labels},
    seal::{SEAL, SealKey, Sealed},
};

/// The key, on the volume.
const KEY: &str = "dev.composed.key";
/// The ids of what was made before there was a key, on the volume.
const BEFORE: &str = "dev.composed.before";
/// So much of an id is written down: 128 bits.
const ID_DIGITS: usize = 32;
/// So many keys are kept: that of the engine, and those of engines that the state directory has seen.
const MAX_KEYS: usize = 4;

/// What proves that something is this instance's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// The first one seals.
    pub(super) keys: Vec<SealKey>,
    /// The ids of what was made before there was a key, cut to 32 digits.
    pub(super) before: BTreeSet<String>,
}

/// The record as its file has it.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RecordFile {
    pub(super) keys: Vec<String>,
    pub(super) before: BTreeSet<String>,
}

/// Whose something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This instance's.
    Us,
    /// Another's: it does not say that it is ours.
    Other,
    /// It says that it is ours, and nothing proves it; why, for people.
    Unproven(String),
}

impl Record {
    /// Whose a container is, going by the id of its image and by its labels.
    pub(crate) fn owner_of_container(
        &self,
        instance: &str,
        id: &ContainerId,
        image: &ImageId,
        labels: &Labels,
    ) -> Owner {
        self.owner(instance, id.as_str(), Sealed::Container { image }, labels)
    }

    /// Whose a network is.
    pub(crate) fn owner_of_network(
        &self,
        instance: &str,
        id: &NetworkId,
        name: &NetworkName,
        labels: &Labels,
    ) -> Owner {
        self.owner(instance, id.as_str(), Sealed::Network { name }, labels)
    }

    fn owner(&self, instance: &str, id: &str, what: Sealed<'_>, labels: &Labels) -> Owner {
        if !labels::are_ours(Some(labels), instance) {
            return Owner::Other;
        }
        let seal = labels::get(labels, SEAL);
        let sealed = seal.is_some_and(|seal| self.keys.iter().any(|key| key.proves(seal, what, labels)));
        if sealed || self.before.contains(short(id)) {
            return Owner::Us;
        }
        Owner::Unproven(match seal {
            Some(_) => "its seal is of another image or other labels, as that of a copy or a commit is".to_owned(),
            None => "its labels name this instance, but carry no seal of it".to_owned(),
        })
    }

    /// The labels with the seal for `what` among them.
    pub(crate) fn seal(&self, what: Sealed<'_>, labels: &mut Labels) -> Result<(), EngineError> {
        let key = self.keys.first().ok_or_else(|| rejected("there is no key to seal with"))?;
        let seal = key.seal(what, &*labels, &random(8)?);
        labels.insert(SEAL.to_owned(), seal);
        Ok(())
    }

    /// With what another one knows, ours first.
    pub(super) fn join(&mut self, other: Self) {
        for key in other.keys {
            if !self.keys.contains(&key) && self.keys.len() < MAX_KEYS {
                self.keys.push(key);
            }
        }
        self.before.extend(other.before);
    }

    pub(super) fn labels(&self, instance: &str) -> HashMap<String, String> {
        let before: Vec<&str> = self.before.iter().map(String::as_str).collect();
        let key = self.keys.first().map_or("", SealKey::as_hex);
        let all = [(INSTANCE, instance.to_owned()), (KEY, key.to_owned()), (BEFORE, before.join(","))];
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// As a volume's labels have it; `None` where they hold no key.
    pub(super) fn read(labels: &Labels) -> Option<Self> {
        let key = SealKey::from_hex(labels.get(KEY)?)?;
        let before = labels.get(BEFORE).map_or("", String::as_str).split(',').filter(|id| !id.is_empty());
        Some(Self { keys: vec![key], before: before.map(|id| short(id).to_owned()).collect() })
    }
}

impl From<RecordFile> for Record {
    fn from(kept: RecordFile) -> Self {
        let keys = kept.keys.iter().filter_map(|key| SealKey::from_hex(key));
        Self { keys: keys.take(MAX_KEYS).collect(), before: kept.before }
    }
}

pub(super) fn joined(first: Option<Record>, second: Option<Record>) -> Option<Record> {
    match (first, second) {
        (Some(mut first), Some(second)) => {
            first.join(second);
            Some(first)
        }
        (first, second) => first.or(second),
    }
}

pub(super) fn short(id: &str) -> &str {
    id.get(..ID_DIGITS).unwrap_or(id)
}

pub(super) fn new_key() -> Result<SealKey, EngineError> {
    SealKey::from_hex(&random(32)?).ok_or_else(|| rejected("a key could not be made"))
}

/// So many random bytes, as hexadecimal digits.
fn random(bytes: usize) -> Result<String, EngineError> {
    let mut random = vec![0; bytes];
    SystemRandom::new().fill(&mut random).map_err(|_| rejected("the system gives no random numbers"))?;
    Ok(hex::encode(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_record_outlives_its_way_through_the_engine_and_a_file() {
        let record = Record { keys: vec![new_key().expect("a key")], before: ["a".repeat(32), "b".repeat(32)].into() };
        assert_eq!(Record::read(&record.labels("i")), Some(record.clone()));
        let keys = record.keys.iter().map(|key| key.as_hex().to_owned()).collect();
        let text = serde_json::to_string(&RecordFile { keys, before: record.before.clone() }).expect("JSON");
        assert_eq!(Record::from(serde_json::from_str::<RecordFile>(&text).expect("JSON")), record);
        assert_eq!(Record::read(&labels(&[(INSTANCE, "i")])), None);
        assert_eq!(Record::read(&labels(&[(KEY, "short")])), None);
    }

    #[test]
    fn who_owns_is_proven_and_not_claimed() {
        let record =
            Record { keys: vec![new_key().expect("a key")], before: [short(&"d".repeat(64)).to_owned()].into() };
        let image = ImageId::new("sha256:1");
        let id = ContainerId::new("e".repeat(64));
        let owner = |id: &ContainerId, labels: &Labels| record.owner_of_container("i", id, &image, labels);
        let claim = labels(&[(INSTANCE, "i"), (labels::SERVICE, "shop/web")]);
        assert!(matches!(owner(&id, &claim), Owner::Unproven(_)));
        assert_eq!(owner(&ContainerId::new("d".repeat(64)), &claim), Owner::Us, "made before there were seals");
        assert_eq!(owner(&id, &labels(&[(INSTANCE, "j")])), Owner::Other);
        let mut made = claim.clone();
        record.seal(Sealed::Container { image: &image }, &mut made).expect("a seal");
        assert_eq!(owner(&id, &made), Owner::Us);
        let of_commit = record.owner_of_container("i", &id, &ImageId::new("sha256:2"), &made);
        assert!(matches!(of_commit, Owner::Unproven(why) if why.contains("commit")));
        // Two engines of one state directory: what either key has sealed is ours.
        let mut other = Record { keys: vec![new_key().expect("a key")], before: BTreeSet::new() };
        assert!(matches!(other.owner_of_container("i", &id, &image, &made), Owner::Unproven(_)));
        other.join(record);
        assert_eq!(other.owner_of_container("i", &id, &image, &made), Owner::Us);
    }
}
