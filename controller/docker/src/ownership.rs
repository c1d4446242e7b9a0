//! Whose a container or network is. A label is a claim: images, commits of containers and other tools can carry ours. Proof
//! is the seal (`seal`), by a key that the engine keeps as a label of the volume `composed-key-INSTANCE` and the state
//! directory keeps in `ownership.json`: losing one of the two loses nothing. What an earlier version made without seals is
//! written down there by id, once, when the key is made. Never changes a container.

mod record;

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
};

use bollard::{
    models::{ContainerSummary, VolumeCreateRequest},
    query_parameters::{ListContainersOptions, ListNetworksOptions, RemoveVolumeOptions},
};
use composed_core::engine::EngineError;
use composed_platform::files;
use crd_schema::ImageId;
use parking_lot::Mutex;

pub(super) use self::record::{Owner, Record};
use self::record::{RecordFile, joined, new_key, short};
use super::{
    connect::{Api, reference, segment},
    errors::{self, CallOrigin, reaction, rejected},
    labels::{self, INSTANCE, Labels},
};

const PREFIX: &str = "composed-key-";
/// The record's file in the state directory.
pub(super) const FILE: &str = "ownership.json";

/// Whether a volume keeps an instance's key.
pub(super) fn is_key(volume: &str) -> bool {
    volume.starts_with(PREFIX)
}

/// The proofs of one instance on one engine.
pub(super) struct Ownership {
    instance: Arc<str>,
    volume: String,
    file: Option<PathBuf>,
    known: tokio::sync::Mutex<Option<LoadedRecord>>,
    /// What the labels of images say, by id: an image never changes.
    images: Mutex<HashMap<ImageId, Arc<ImageClaims>>>,
}

struct LoadedRecord {
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
            *known = Some(LoadedRecord { record: Arc::clone(&record), is_kept: false });
        }
        Ok(record)
    }

    /// The record, made if there is none: only for one who may act on the engine.
    pub(super) async fn keep(&self, api: &Api) -> Result<Arc<Record>, EngineError> {
        let mut known = self.known.lock().await;
        if let Some(LoadedRecord { record, is_kept: true }) = &*known {
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
        *known = Some(LoadedRecord { record: Arc::clone(&record), is_kept: true });
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
        image: &ImageId,
        labels: &Labels,
    ) -> Result<Option<String>, EngineError> {
        let Some(hash) = labels::get(labels, labels::CONFIG_HASH).filter(|_| labels::number(labels) > 0) else {
            return Ok(Some("it lacks the labels that Docker Compose gives each container it makes".to_owned()));
        };
        if labels::get(labels, labels::COMPOSE_IMAGE).is_some_and(|made_of| *image == made_of.as_str()) {
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
            let claims = self.claims(api, &ImageId::new(image)).await?;
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
    async fn claims(&self, api: &Api, id: &ImageId) -> Result<Option<Arc<ImageClaims>>, EngineError> {
        let known = self.images.lock().get(id).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let Ok(name) = reference(id.as_str()) else { return Ok(None) };
        let image = match api.answer(api.client.inspect_image(name)).await? {
            Ok(image) => image,
            Err(error) if errors::words(&error, &[404]).is_some() => return Ok(None),
            Err(error) => return Err(reaction(&error, CallOrigin::Plainly)),
        };
        let labels = image.config.and_then(|config| config.labels).unwrap_or_default();
        let get = |name: &str| labels.get(name).cloned();
        let claims = ImageClaims { revision: get(labels::REVISION), config_hash: get(labels::CONFIG_HASH) };
        let claims = Arc::new(claims);
        let mut images = self.images.lock();
        images.insert(id.clone(), Arc::clone(&claims));
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
        match serde_json::from_slice::<RecordFile>(&text) {
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
        let kept = RecordFile { keys, before: record.before.clone() };
        let written =
            serde_json::to_vec(&kept).map_err(std::io::Error::from).and_then(|text| files::replace(path, &text, true));
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "the proofs of ownership are kept by the engine alone");
        }
    }
}
