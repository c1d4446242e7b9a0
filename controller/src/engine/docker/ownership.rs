//! Whose a container or network is. A label is a claim: images, commits of containers and other tools can carry ours. Proof
//! is the seal (`seal`), by a key that the engine keeps as a label of the volume `composed-key-INSTANCE` and the state
//! directory keeps in `ownership.json`: losing one of the two loses nothing. What an earlier version made without seals is
//! written down there by id, once, when the key is made. Never changes a container.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bollard::{
    models::{ContainerSummary, VolumeCreateRequest},
    query_parameters::{ListContainersOptions, ListNetworksOptions, RemoveVolumeOptions},
};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use super::{
    connect::{Api, reference, segment},
    errors::{self, Asked, reaction, rejected},
    labels::{self, INSTANCE, Labels},
    seal::{SEAL, SealKey, Sealed},
};
use crate::{engine::EngineError, hex, state};

const PREFIX: &str = "composed-key-";
/// The key, on the volume.
const KEY: &str = "dev.composed.key";
/// The ids of what was made before there was a key, on the volume.
const BEFORE: &str = "dev.composed.before";
/// So much of an id is written down: 128 bits.
const ID_DIGITS: usize = 32;
/// So many keys are kept: that of the engine, and those of engines that the state directory has seen.
const MAX_KEYS: usize = 4;
/// The record's file in the state directory.
pub(super) const FILE: &str = "ownership.json";

/// Whether a volume keeps an instance's key.
pub(super) fn is_key(volume: &str) -> bool {
    volume.starts_with(PREFIX)
}

/// What proves that something is this instance's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// The first one seals.
    keys: Vec<SealKey>,
    /// The ids of what was made before there was a key, cut to 32 digits.
    before: BTreeSet<String>,
}

/// The record as its file has it.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    keys: Vec<String>,
    before: BTreeSet<String>,
}

/// Whose something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// This instance's.
    Us,
    /// Another's: it does not say that it is ours.
    Other,
    /// It says that it is ours, and nothing proves it; why, for people.
    Unproven(String),
}

/// The proofs of one instance on one engine.
pub(super) struct Ownership {
    instance: Arc<str>,
    volume: String,
    file: Option<PathBuf>,
    known: tokio::sync::Mutex<Option<Known>>,
    /// What the labels of images say, by id: an image never changes.
    images: Mutex<HashMap<String, Arc<ImageClaims>>>,
}

struct Known {
    record: Arc<Record>,
    /// The engine has it.
    is_kept: bool,
}

/// The labels of an image that could pass for a container's.
#[derive(Debug, Default, PartialEq, Eq)]
struct ImageClaims {
    revision: Option<String>,
    config_hash: Option<String>,
}

impl Record {
    /// Whose a container is, going by the id of its image and by its labels.
    pub(super) fn owner_of_container(&self, instance: &str, id: &str, image: &str, labels: &Labels) -> Owner {
        self.owner(instance, id, Sealed::Container { image }, labels)
    }

    /// Whose a network is.
    pub(super) fn owner_of_network(&self, instance: &str, id: &str, name: &str, labels: &Labels) -> Owner {
        self.owner(instance, id, Sealed::Network { name }, labels)
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
    pub(super) fn seal(&self, what: Sealed<'_>, labels: &mut Labels) -> Result<(), EngineError> {
        let key = self.keys.first().ok_or_else(|| rejected("there is no key to seal with"))?;
        let seal = key.seal(what, &*labels, &random(8)?);
        labels.insert(SEAL.to_owned(), seal);
        Ok(())
    }

    /// With what another one knows, ours first.
    fn join(&mut self, other: Self) {
        for key in other.keys {
            if !self.keys.contains(&key) && self.keys.len() < MAX_KEYS {
                self.keys.push(key);
            }
        }
        self.before.extend(other.before);
    }

    fn labels(&self, instance: &str) -> HashMap<String, String> {
        let before: Vec<&str> = self.before.iter().map(String::as_str).collect();
        let key = self.keys.first().map_or("", SealKey::as_hex);
        let all = [(INSTANCE, instance.to_owned()), (KEY, key.to_owned()), (BEFORE, before.join(","))];
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// As a volume's labels have it; `None` where they hold no key.
    fn read(labels: &Labels) -> Option<Self> {
        let key = SealKey::from_hex(labels.get(KEY)?)?;
        let before = labels.get(BEFORE).map_or("", String::as_str).split(',').filter(|id| !id.is_empty());
        Some(Self { keys: vec![key], before: before.map(|id| short(id).to_owned()).collect() })
    }
}

impl From<Kept> for Record {
    fn from(kept: Kept) -> Self {
        let keys = kept.keys.iter().filter_map(|key| SealKey::from_hex(key));
        Self { keys: keys.take(MAX_KEYS).collect(), before: kept.before }
    }
}

impl Ownership {
    /// The proofs of `instance`. `file` is where the state directory keeps them, if there is one.
    pub(super) fn new(instance: &Arc<str>, file: Option<PathBuf>) -> Result<Self, EngineError> {
        let volume = format!("{PREFIX}{instance}");
        segment(&volume)?;
        Ok(Self {
            instance: Arc::clone(instance),
            volume,
            file,
            known: tokio::sync::Mutex::default(),
            images: Mutex::default(),
        })
    }

    /// The record, without making one. Where there is none yet, it is what would be written down now.
    pub(super) async fn look(&self, api: &Api) -> Result<Arc<Record>, EngineError> {
        let mut known = self.known.lock().await;
        if let Some(known) = &*known {
            return Ok(Arc::clone(&known.record));
        }
        let (of_volume, of_file) = (self.of_volume(api).await?, self.of_file().unwrap_or_default());
        let is_kept = of_volume.is_some();
        let record = match joined(of_volume, of_file).filter(|record| !record.keys.is_empty()) {
            Some(record) => record,
            None => Record { keys: Vec::new(), before: self.made_before(api).await? },
        };
        let record = Arc::new(record);
        // What is only a guess is made anew by the next look.
        if is_kept {
            *known = Some(Known { record: Arc::clone(&record), is_kept: false });
        }
        Ok(record)
    }

    /// The record, made if there is none: only for one who may act on the engine.
    pub(super) async fn keep(&self, api: &Api) -> Result<Arc<Record>, EngineError> {
        let mut known = self.known.lock().await;
        if let Some(Known { record, is_kept: true }) = &*known {
            return Ok(Arc::clone(record));
        }
        // What is known stays known, whatever the engine answers now: it may be all that is left of the key.
        let before = known.as_ref().map(|known| Record::clone(&known.record));
        let there = self.of_volume(api).await?;
        let of_file = match (self.of_file(), &there) {
            (Ok(of_file), _) => of_file,
            // The engine's key counts: one that cannot be read beside it stops nothing.
            (Err(error), Some(_)) => {
                tracing::warn!("the proofs of ownership in the state directory do not count: {error}");
                None
            }
            (Err(error), None) => return Err(error),
        };
        let there = if let Some(there) = there {
            there
        } else {
            let kept = joined(before.clone(), of_file.clone()).filter(|record| !record.keys.is_empty());
            let new = match kept {
                Some(kept) => kept,
                None => Record { keys: vec![new_key()?], before: self.made_before(api).await? },
            };
            self.make(api, &new).await?
        };
        let record = joined(Some(there), joined(before, of_file.clone())).unwrap_or_default();
        if of_file.as_ref() != Some(&record) {
            self.write(&record);
        }
        let record = Arc::new(record);
        *known = Some(Known { record: Arc::clone(&record), is_kept: true });
        Ok(record)
    }

    /// Removes the key from the engine.
    pub(super) async fn remove(&self, api: &Api) {
        let removed = api.call(api.client.remove_volume(&self.volume, None::<RemoveVolumeOptions>)).await;
        if let Err(error) = removed {
            tracing::debug!(volume = self.volume, %error, "it stays");
        }
    }

    /// The engine may have lost the key: it is looked for, and put there again, before the next use.
    pub(super) async fn doubt(&self) {
        if let Some(known) = &mut *self.known.lock().await {
            known.is_kept = false;
        }
    }

    /// Why a container is none that Docker Compose made, though its labels say so; `None`: Compose made it. What is
    /// inherited from an image, as after a commit or a build, is the same on the image.
    pub(super) async fn not_by_compose(
        &self,
        api: &Api,
        image: &str,
        labels: &Labels,
    ) -> Result<Option<String>, EngineError> {
        let Some(hash) = labels::get(labels, labels::CONFIG_HASH).filter(|_| labels::number(labels) > 0) else {
            return Ok(Some("it lacks the labels that Docker Compose gives each container it makes".to_owned()));
        };
        if labels::get(labels, labels::COMPOSE_IMAGE).is_some_and(|made_of| made_of == image) {
            return Ok(None);
        }
        let why = match self.claims(api, image).await? {
            Some(claims) if claims.config_hash.as_ref() == Some(hash) => {
                "its labels are those of its image, as those of a commit are"
            }
            Some(_) => return Ok(None),
            None => "its image is gone, so that it cannot be seen whether its labels are the image's",
        };
        Ok(Some(why.to_owned()))
    }

    /// The ids of what carries our labels and not from its image: an earlier version made it, or its seal is of a key that
    /// is lost.
    async fn made_before(&self, api: &Api) -> Result<BTreeSet<String>, EngineError> {
        let ours = || HashMap::from([("label".to_owned(), vec![format!("{INSTANCE}={}", self.instance)])]);
        let options = ListContainersOptions { all: true, filters: Some(ours()), ..ListContainersOptions::default() };
        let mut before = BTreeSet::new();
        for one in api.call(api.client.list_containers(Some(options))).await? {
            let ContainerSummary { id: Some(id), image_id: Some(image), labels: Some(labels), .. } = one else {
                continue;
            };
            let claims = self.claims(api, &image).await?;
            let revision = labels::get(&labels, labels::REVISION);
            if claims.is_some_and(|claims| claims.revision.is_none() || claims.revision.as_ref() != revision) {
                before.insert(short(&id).to_owned());
            }
        }
        let options = ListNetworksOptions { filters: Some(ours()) };
        for one in api.call(api.client.list_networks(Some(options))).await? {
            before.extend(one.id.map(|id| short(&id).to_owned()));
        }
        Ok(before)
    }

    /// What an image's labels say; `None` when there is no such image.
    async fn claims(&self, api: &Api, id: &str) -> Result<Option<Arc<ImageClaims>>, EngineError> {
        let known = self.images.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let Ok(name) = reference(id) else { return Ok(None) };
        let image = match api.answer(api.client.inspect_image(name)).await? {
            Ok(image) => image,
            Err(error) if errors::words(&error, &[404]).is_some() => return Ok(None),
            Err(error) => return Err(reaction(&error, Asked::Plainly)),
        };
        let labels = image.config.and_then(|config| config.labels).unwrap_or_default();
        let get = |name: &str| labels.get(name).cloned();
        let claims = ImageClaims { revision: get(labels::REVISION), config_hash: get(labels::CONFIG_HASH) };
        let claims = Arc::new(claims);
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        images.insert(id.to_owned(), Arc::clone(&claims));
        Ok(Some(claims))
    }

    async fn of_volume(&self, api: &Api) -> Result<Option<Record>, EngineError> {
        match api.call(api.client.inspect_volume(&self.volume)).await {
            Ok(volume) => self.read(&volume.labels).map(Some),
            Err(EngineError::Stale(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creating a volume that is there answers with what is there: the first one counts.
    async fn make(&self, api: &Api, record: &Record) -> Result<Record, EngineError> {
        let request = VolumeCreateRequest {
            name: Some(self.volume.clone()),
            labels: Some(record.labels(&self.instance)),
            ..VolumeCreateRequest::default()
        };
        self.read(&api.call(api.client.create_volume(request)).await?.labels)
    }

    fn read(&self, labels: &Labels) -> Result<Record, EngineError> {
        let record = Record::read(labels).filter(|_| labels::are_ours(Some(labels), &self.instance));
        record.ok_or_else(|| {
            rejected(format!(
                "the volume {volume} should hold this instance's key, and does not: something else has made it. Remove \
                 it (docker volume rm {volume}), or choose another --instance",
                volume = self.volume
            ))
        })
    }

    /// What the file says; none without one. One that cannot be read is not taken for none: a new key would make strangers
    /// of all containers.
    fn of_file(&self) -> Result<Option<Record>, EngineError> {
        let Some(path) = &self.file else { return Ok(None) };
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(rejected(format!("{}: {error}", path.display()))),
        };
        match serde_json::from_slice::<Kept>(&text) {
            Ok(kept) => Ok(Some(kept.into())),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the proofs of ownership here cannot be read; the engine's count");
                Ok(None)
            }
        }
    }

    fn write(&self, record: &Record) {
        let Some(path) = &self.file else { return };
        let keys = record.keys.iter().map(|key| key.as_hex().to_owned()).collect();
        let kept = Kept { keys, before: record.before.clone() };
        let written =
            serde_json::to_vec(&kept).map_err(std::io::Error::from).and_then(|text| state::replace(path, &text, true));
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "the proofs of ownership are kept by the engine alone");
        }
    }
}

fn joined(first: Option<Record>, second: Option<Record>) -> Option<Record> {
    match (first, second) {
        (Some(mut first), Some(second)) => {
            first.join(second);
            Some(first)
        }
        (first, second) => first.or(second),
    }
}

fn short(id: &str) -> &str {
    id.get(..ID_DIGITS).unwrap_or(id)
}

fn new_key() -> Result<SealKey, EngineError> {
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
        let text = serde_json::to_string(&Kept { keys, before: record.before.clone() }).expect("JSON");
        assert_eq!(Record::from(serde_json::from_str::<Kept>(&text).expect("JSON")), record);
        assert_eq!(Record::read(&labels(&[(INSTANCE, "i")])), None);
        assert_eq!(Record::read(&labels(&[(KEY, "short")])), None);
    }

    #[test]
    fn who_owns_is_proven_and_not_claimed() {
        let record =
            Record { keys: vec![new_key().expect("a key")], before: [short(&"d".repeat(64)).to_owned()].into() };
        let id = "e".repeat(64);
        let owner = |id: &str, labels: &Labels| record.owner_of_container("i", id, "sha256:1", labels);
        let claim = labels(&[(INSTANCE, "i"), (labels::SERVICE, "shop/web")]);
        assert!(matches!(owner(&id, &claim), Owner::Unproven(_)));
        assert_eq!(owner(&"d".repeat(64), &claim), Owner::Us, "made before there were seals");
        assert_eq!(owner(&id, &labels(&[(INSTANCE, "j")])), Owner::Other);
        let mut made = claim.clone();
        record.seal(Sealed::Container { image: "sha256:1" }, &mut made).expect("a seal");
        assert_eq!(owner(&id, &made), Owner::Us);
        let of_commit = record.owner_of_container("i", &id, "sha256:2", &made);
        assert!(matches!(of_commit, Owner::Unproven(why) if why.contains("commit")));
        // Two engines of one state directory: what either key has sealed is ours.
        let mut other = Record { keys: vec![new_key().expect("a key")], before: BTreeSet::new() };
        assert!(matches!(other.owner_of_container("i", &id, "sha256:1", &made), Owner::Unproven(_)));
        other.join(record);
        assert_eq!(other.owner_of_container("i", &id, "sha256:1", &made), Owner::Us);
    }
}
