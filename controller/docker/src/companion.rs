//! Companions: short-lived containers of composed's own image in the network namespace of a leaving replica, which say
//! how many requests are in flight there. Never a replica: they carry no service label. What they say is read in
//! `traffic`.

use std::collections::{BTreeMap, HashMap};

use bollard::{
    container::LogOutput,
    models::{ContainerCreateBody, HostConfig, HostConfigLogConfig},
    query_parameters::{
        CreateContainerOptions, ListContainersOptions, LogsOptions, RemoveContainerOptions, StartContainerOptions,
    },
};
use composed_core::engine::EngineError;
use crd_schema::{ContainerId, ImageId, ImageRef};
use futures_util::{StreamExt as _, stream, stream::BoxStream};

use super::{
    Docker, connect,
    errors::{CallOrigin, reaction, words},
    identity,
    labels::{self, BRIDGE, COMPANION},
    observe::inspect,
    ownership::Owner,
    seal::Sealed,
};

/// Nobody.
const USER: &str = "65534:65534";
/// Longer lines are no companion's.
const MAX_LINE: usize = 4096;

impl Docker {
    /// The image that this very process runs from, if it runs in a container of this engine.
    pub async fn own_image(&self) -> Result<Option<ImageRef>, EngineError> {
        let Some(own) = identity::facts(self.api.by_socket()).remove(identity::CONTAINER) else { return Ok(None) };
        Ok(inspect(&self.api, &own).await?.and_then(|own| own.image).map(ImageRef::new))
    }

    /// Starts a companion of a running container: `command` in `image`, without any right but to look. Returns its id.
    /// It removes itself when its command ends.
    pub async fn start_companion(
        &self,
        image: &ImageRef,
        command: &[String],
        of: &ContainerId,
    ) -> Result<ContainerId, EngineError> {
        let body = Box::pin(self.companion(COMPANION, image, command, of)).await?;
        Box::pin(self.accompany("companion", body, COMPANION, of)).await
    }

    /// Starts a bridge to a front: `command` in `image` in its network namespace, with a new token in the environment
    /// variable `variable`. Returns the token. It ends by itself when nobody uses it.
    pub async fn start_bridge(
        &self,
        image: &ImageRef,
        command: &[String],
        variable: &str,
        of: &ContainerId,
    ) -> Result<String, EngineError> {
        let token = identity::random();
        let mut body = Box::pin(self.companion(BRIDGE, image, command, of)).await?;
        body.env = Some(vec![format!("{variable}={token}")]);
        Box::pin(self.accompany("bridge", body, BRIDGE, of)).await?;
        Ok(token)
    }

    async fn accompany(
        &self,
        kind: &str,
        body: ContainerCreateBody,
        label: &str,
        of: &ContainerId,
    ) -> Result<ContainerId, EngineError> {
        let short = connect::segment(of.as_str())?.get(..12).unwrap_or(of.as_str());
        let options =
            || CreateContainerOptions { name: Some(format!("composed-{kind}-{short}")), ..Default::default() };
        let id = match self.api.answer(self.api.client.create_container(Some(options()), body.clone())).await? {
            Ok(created) => created.id,
            // A leftover of a controller that died.
            Err(error) if words(&error, &[409]).is_some() => {
                self.sweep(label, Some(of)).await;
                self.api.call(self.api.client.create_container(Some(options()), body)).await?.id
            }
            Err(error) => return Err(reaction(&error, CallOrigin::Plainly)),
        };
        let id = ContainerId::new(id);
        match self.api.call(self.api.client.start_container(id.as_str(), None::<StartContainerOptions>)).await {
            Ok(()) => Ok(id),
            Err(error) => {
                self.remove_companion(&id).await;
                Err(error)
            }
        }
    }

    /// What a companion says, line by line. Ends with it.
    pub fn companion_lines(&self, id: &ContainerId) -> BoxStream<'static, String> {
        let options = LogsOptions { follow: true, stdout: true, stderr: true, ..LogsOptions::default() };
        let pieces = self.api.client.logs(id.as_str(), Some(options)).boxed();
        let lines = stream::unfold((pieces, Vec::new()), |(mut pieces, mut rest)| async move {
            loop {
                if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    return Some((String::from_utf8_lossy(&line).trim().to_owned(), (pieces, rest)));
                }
                match pieces.next().await? {
                    Ok(LogOutput::StdOut { message } | LogOutput::StdErr { message }) if rest.len() < MAX_LINE => {
                        rest.extend_from_slice(&message);
                    }
                    _ => return None,
                }
            }
        });
        lines.boxed()
    }

    /// Removes a companion, running or not. What cannot be removed ends by itself.
    pub async fn remove_companion(&self, id: &ContainerId) {
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        let removed = match connect::segment(id.as_str()) {
            Ok(id) => self.api.answer(self.api.client.remove_container(id, Some(options))).await,
            Err(error) => Err(error),
        };
        match removed {
            Ok(Ok(())) => {}
            // Gone, or going by itself.
            Ok(Err(error)) if words(&error, &[404, 409]).is_some() => {}
            Ok(Err(error)) => {
                tracing::warn!(companion = id.as_str(), "cannot be removed: {}", reaction(&error, CallOrigin::Plainly));
            }
            Err(error) => tracing::warn!(companion = id.as_str(), "cannot be removed: {error}"),
        }
    }

    /// Removes the companions that controllers of this instance have left behind.
    pub async fn sweep_companions(&self) {
        self.sweep(COMPANION, None).await;
    }

    /// Removes what accompanies the container `of`, or any, by this label.
    async fn sweep(&self, label: &str, of: Option<&ContainerId>) {
        let ours = format!("{}={}", labels::INSTANCE, self.instance);
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned(), ours])]);
        let options = ListContainersOptions { all: true, filters: Some(filters), ..ListContainersOptions::default() };
        match self.api.call(self.api.client.list_containers(Some(options))).await {
            Ok(found) => {
                let record = match self.ownership.look(&self.api).await {
                    Ok(record) => record,
                    Err(error) => return tracing::warn!("leftover companions: {error}"),
                };
                for one in found {
                    let (id, labels) = (ContainerId::new(one.id.unwrap_or_default()), one.labels.unwrap_or_default());
                    let image = ImageId::new(one.image_id.unwrap_or_default());
                    // Replicas have the label as well: empty.
                    let accompanied = labels::get(&labels, label);
                    if accompanied.is_none_or(|accompanied| of.is_some_and(|of| of.as_str() != accompanied)) {
                        continue;
                    }
                    if record.owner_of_container(&self.instance, &id, &image, &labels) == Owner::Us {
                        self.remove_companion(&id).await;
                    }
                }
            }
            Err(error) => tracing::warn!("leftover companions: {error}"),
        }
    }

    async fn companion(
        &self,
        label: &str,
        image: &ImageRef,
        command: &[String],
        of: &ContainerId,
    ) -> Result<ContainerCreateBody, EngineError> {
        let found = self.api.call(self.api.client.inspect_image(connect::reference(image.as_str())?)).await?;
        let made_of = ImageId::new(found.id.unwrap_or_default());
        let pairs = [(label, of.as_str()), (labels::INSTANCE, &*self.instance)];
        let mut sealed: BTreeMap<_, _> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        labels::set_all(&mut sealed);
        labels::clear_identity(&mut sealed, found.config.and_then(|config| config.labels).unwrap_or_default());
        let mut sealed = sealed.into_iter().collect();
        self.ownership.keep(&self.api).await?.seal(Sealed::Container { image: &made_of }, &mut sealed)?;
        let logs = [("max-size", "1m"), ("max-file", "2")];
        let owned = |pairs: [(&str, &str); 2]| pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        Ok(ContainerCreateBody {
            image: Some(made_of.to_string()),
            entrypoint: Some(command.to_vec()),
            cmd: Some(Vec::new()),
            user: Some(USER.to_owned()),
            labels: Some(sealed),
            // As process 1 it would not hear any other.
            stop_signal: Some("SIGKILL".to_owned()),
            host_config: Some(HostConfig {
                network_mode: Some(format!("container:{of}")),
                cap_drop: Some(vec!["ALL".to_owned()]),
                security_opt: Some(vec!["no-new-privileges".to_owned()]),
                readonly_rootfs: Some(true),
                auto_remove: Some(true),
                pids_limit: Some(16),
                memory: Some(64 * 1024 * 1024),
                log_config: Some(HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(owned(logs)) }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        })
    }
}
