//! One service document, resolved: the project's defaults, environment files, paths of the host. Nothing is left to
//! look up.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use composed_core::model::{DesiredService, ServiceName};
use composed_core::plan::project::uses;
use crd_schema::{MountKind, Project, Rollout, Service, ServiceSpec, SpecDigest};

use super::env_file::EnvFiles;
use super::path::plain;
use super::reading::Reading;

/// What a valid version of a document was made of.
#[derive(Clone, Debug, Default)]
pub(super) struct ResolutionInputs {
    /// The digest of the document alone.
    document: SpecDigest,
    /// The environment files that held variables.
    filled: BTreeSet<PathBuf>,
}

/// Resolves the document at `place`, whose relative paths start where `file` is. `before` tells of its last valid
/// version.
pub(super) fn resolve(
    reading: &Reading,
    (file, place): (&str, String),
    service: &Service,
    project: Option<&Project>,
    before: &ResolutionInputs,
) -> Result<(DesiredService, ResolutionInputs), String> {
    let name = ServiceName::new(&service.metadata.project, &service.metadata.name);
    let document = Document { reading, file, place, name };
    let mut spec = service.spec.clone();
    spec.depend_on_shared();
    let mut made = ResolutionInputs { document: spec.digest(), filled: BTreeSet::new() };
    if let Some(project) = project {
        document.declared(&spec, project)?;
        spec.paused |= project.spec.paused;
        if let Some(defaults) = &project.spec.rollout {
            spec.rollout = Some(spec.rollout.unwrap_or_default().or(defaults));
            document.can_move(&spec)?;
        }
        // An image that is named by its digest has nothing to follow.
        if let Some(defaults) = project.spec.update.as_ref().filter(|_| !spec.image.as_str().contains('@')) {
            spec.update = Some(spec.update.unwrap_or_default().or(defaults));
        }
    }
    document.place_binds(&mut spec)?;
    document.merge_env_files(&mut spec, before, &mut made)?;
    let commit = reading.asked(file, &document.name).cloned();
    let shown = reading.shown(&document.place, commit.as_ref());
    Ok((DesiredService { commit, ..DesiredService::new(document.name, spec, shown) }, made))
}

struct Document<'a> {
    reading: &'a Reading,
    file: &'a str,
    place: String,
    name: ServiceName,
}

impl Document<'_> {
    fn declared(&self, spec: &ServiceSpec, project: &Project) -> Result<(), String> {
        let (networks, volumes) = uses(spec);
        let network = networks.iter().find(|key| *key != "default" && !project.spec.networks.contains_key(*key));
        let volume = volumes.iter().find(|key| !project.spec.volumes.contains_key(*key));
        let Some((kind, key)) = network.map(|key| ("network", key)).or(volume.map(|key| ("volume", key))) else {
            return Ok(());
        };
        let Self { place, name, .. } = self;
        Err(format!(
            "error: {place}: {name} uses {kind} {key}, which project {} does not declare: add `{key}:` to the {kind}s of \
             its Project document",
            name.project
        ))
    }

    /// A service and its project may each say one half of a rollout that replaces nothing.
    fn can_move(&self, spec: &ServiceSpec) -> Result<(), String> {
        if !spec.rollout.as_ref().is_some_and(Rollout::cannot_move) {
            return Ok(());
        }
        let Self { place, name, .. } = self;
        Err(format!(
            "error: {place}: of {name} nothing can be replaced: with the defaults of project {}, max_surge and \
             max_unavailable are both 0: write `max_surge: 1` or `max_unavailable: 1` into its `rollout`",
            name.project
        ))
    }

    /// The engine takes absolute paths of its own host only; in the files they are relative to the document.
    fn place_binds(&self, spec: &mut ServiceSpec) -> Result<(), String> {
        let binds = spec.volumes.iter_mut().filter(|mount| mount.kind == MountKind::Bind);
        for source in binds.filter_map(|mount| mount.source.as_mut()) {
            if Path::new(source.as_str()).is_absolute() {
                continue;
            }
            let Self { place, name, .. } = self;
            let Some(dir) = self.reading.host_dir(self.file) else {
                if self.reading.origin(self.file).is_some() {
                    return Err(format!(
                        "error: {place}: {name} mounts {source}, a path relative to its document, and from git nothing \
                         lies on the host: write the path in full, or say which directory of the host stands for the \
                         repository (--host-dir, host_dir)"
                    ));
                }
                let root = &self.reading.root;
                let root = if root.as_os_str().is_empty() { Path::new(".") } else { root.as_path() };
                return Err(format!(
                    "error: {place}: {name} mounts {source}, a path relative to its document, and composed, in a \
                     container, does not know where that is on the host: start it with --host-dir PATH \
                     (COMPOSED_HOST_DIR), the host's path of {}, or write the path in full",
                    root.display()
                ));
            };
            let path = plain(&dir.join(source.as_str()));
            let text = path.to_str().ok_or_else(|| format!("error: {place}: {source} of {name} is not UTF-8"))?;
            text.clone_into(source);
        }
        Ok(())
    }

    fn merge_env_files(
        &self,
        spec: &mut ServiceSpec,
        before: &ResolutionInputs,
        made: &mut ResolutionInputs,
    ) -> Result<(), String> {
        let Self { place, name, .. } = self;
        let mut files = EnvFiles::new(&spec.environment.0);
        for env_file in &spec.env_file {
            let shown = &env_file.path;
            let fail = |why: &str| Err(format!("error: {place}: env_file {shown} of {name} {why}"));
            let path = self.reading.dir(self.file).join(shown);
            let text = match self.reading.env_files.get(&path) {
                Some(Some(Ok(text))) => text,
                Some(None) | None if !env_file.required => continue,
                Some(None) | None => return fail("cannot be read: there is no such file"),
                Some(Some(Err(error))) => return fail(&format!("cannot be read: {error}")),
            };
            let Ok(text) = std::str::from_utf8(text) else {
                return fail("cannot be read: it is not UTF-8 text");
            };
            let set = files
                .read(env_file, text)
                .map_err(|(at, why)| format!("error: {shown}:{at}: {why} (env_file of {name})"))?;
            if set > 0 {
                made.filled.insert(path);
            } else if before.document == made.document && before.filled.contains(&path) {
                return fail("had variables and is empty now: write it again, or remove it from the document");
            }
        }
        let EnvFiles { variables, .. } = files;
        // `environment` wins over `env_file`, as in Compose.
        for (key, value) in variables {
            spec.environment.0.entry(key).or_insert(value);
        }
        Ok(())
    }
}
