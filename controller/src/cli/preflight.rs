//! What a command that converges once looks at before it begins: what only people can bring about, and what no waiting does.

use std::path::{Path, PathBuf};

use composed_core::engine::{Engine, EngineError};
use composed_core::model::{DesiredService, ListedObjects, ServiceName};
use composed_core::plan::policy::is_named_as_file;
use composed_core::plan::project;
use composed_source::catalog::Catalog;
use composed_source::files::Reading;
use crd_schema::{Mount, MountKind, ServiceSpec};

use super::args::{Common, EngineChoice};
use super::session::say_warning;

/// What is missing for the services that `concerns` names, one sentence each.
///
/// # Errors
/// The engine's.
pub(super) async fn missing(
    engine: &dyn Engine,
    common: &Common,
    (catalog, reading): (&Catalog, &Reading),
    concerns: &dyn Fn(&ServiceName) -> bool,
) -> Result<Vec<String>, EngineError> {
    if common.engine == EngineChoice::Simulated {
        // Nothing is real there.
        return Ok(Vec::new());
    }
    let objects = engine.list_objects().await?;
    let files = Files::of(reading, common);
    let services = catalog.names().filter(|name| concerns(name)).filter_map(|name| catalog.service(name));
    Ok(services.flat_map(|service| of_service(service, catalog, &objects, &files)).collect())
}

/// Says where the engine will make a directory of what is meant to be a file by its name, since it is not there.
pub(super) fn say_directories(
    common: &Common,
    (catalog, reading): (&Catalog, &Reading),
    concerns: &dyn Fn(&ServiceName) -> bool,
) {
    if common.engine == EngineChoice::Simulated {
        return;
    }
    let files = Files::of(reading, common);
    let services = catalog.names().filter(|name| concerns(name)).filter_map(|name| catalog.service(name));
    for service in services.filter(|service| service.spec.replicas != Some(0) && !service.spec.paused) {
        for path in made_directories(&service.spec, &files) {
            let warning = format!(
                "{}: it mounts {path} as a file, and that does not exist: the engine makes a directory of it; create the file first",
                service.source
            );
            say_warning(&service.name, Some(warning));
        }
    }
}

fn made_directories<'a>(spec: &'a ServiceSpec, files: &'a Files) -> impl Iterator<Item = &'a String> {
    let made = |mount: &&Mount| mount.kind == MountKind::Bind && !must_exist(mount) && is_named_as_file(&mount.target);
    let sources = spec.volumes.iter().filter(made).filter_map(|mount| mount.source.as_ref());
    sources.filter(|path| files.is_missing(Path::new(path)))
}

fn of_service(service: &DesiredService, catalog: &Catalog, objects: &ListedObjects, files: &Files) -> Vec<String> {
    let DesiredService { name, spec, source, .. } = service;
    // Nothing of it is begun; and a front needs what its service does.
    if spec.replicas == Some(0) || spec.paused || spec.generated.is_some() {
        return Vec::new();
    }
    let lacks = project::missing(&name.project, &catalog.project(&name.project), spec, objects);
    let objects = lacks.into_iter().filter(|one| one.external).map(|one| {
        let (section, key) = (format!("{}s", one.kind), &one.key);
        format!(
            "error: {source}: {name} needs the {one} (`{section}.{key}` is `external`), which does not exist on the engine: \
             create it with `{}`, or mend its `name`",
            one.command()
        )
    });
    let mounts = spec.volumes.iter().filter(|mount| must_exist(mount));
    let mounts = mounts.filter_map(|mount| mount.source.as_ref()).filter(|path| files.is_missing(Path::new(path)));
    let mounts = mounts.map(|path| {
        format!(
            "error: {source}: {name} mounts {path} (a secret, a config or a bind mount), which does not exist: create the \
             file, or mend its path"
        )
    });
    objects.chain(mounts).collect()
}

/// Whether the engine refuses a mount whose source is not there: it makes a directory for others.
fn must_exist(mount: &Mount) -> bool {
    let makes = mount.bind.as_ref().and_then(|bind| bind.create_host_path).unwrap_or(false);
    mount.kind == MountKind::Bind && !makes
}

/// The files of the engine's host, as far as this process sees them.
struct Files {
    /// All of them are those of this process.
    same: bool,
    /// A directory there, and where it is here.
    root: Option<(PathBuf, PathBuf)>,
}

impl Files {
    fn of(reading: &Reading, common: &Common) -> Self {
        let host = common.address().unwrap_or_default().host;
        // Of an engine on another host nothing is known.
        let near = host.is_none_or(|host| host.starts_with("unix://"));
        let here = std::path::absolute(&reading.root).ok().filter(|_| near);
        let root = reading.host_root.clone().zip(here);
        let same = root.as_ref().is_some_and(|(there, here)| there == here);
        Self { same, root }
    }

    /// Whether a path of the engine's host is certainly not there.
    fn is_missing(&self, path: &Path) -> bool {
        let below = self.root.as_ref().and_then(|(there, here)| Some(here.join(path.strip_prefix(there).ok()?)));
        let here = below.or_else(|| self.same.then(|| path.to_owned()));
        // One that cannot be looked at may be there.
        here.is_some_and(
            |path| matches!(path.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_seen_is_missed() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("there"), "").expect("written");
        let missing = |files: &Files, path: &str| files.is_missing(Path::new(path));
        let here = dir.path().to_owned();
        let mapped = Files { same: false, root: Some(("/srv".into(), here.clone())) };
        assert!(!missing(&mapped, "/srv/there") && missing(&mapped, "/srv/gone"));
        assert!(!missing(&mapped, "/elsewhere/gone"), "not in sight");
        let same = Files { same: true, root: Some((here.clone(), here)) };
        assert!(missing(&same, "/elsewhere/gone") && !missing(&same, "/"));
        assert!(!missing(&Files { same: false, root: None }, "/gone"), "nothing is in sight");
        let bind = |source: &str, target: &str| Mount {
            kind: MountKind::Bind,
            source: Some(format!("/srv/{source}")),
            target: target.to_owned(),
            bind: Some(crd_schema::BindOptions { create_host_path: Some(true), ..Default::default() }),
            ..Mount::default()
        };
        let volumes = vec![bind("gone", "/etc/nginx/nginx.conf"), bind("there", "/app/a.yaml"), bind("data", "/data")];
        let spec = ServiceSpec { volumes, ..ServiceSpec::default() };
        assert_eq!(made_directories(&spec, &mapped).collect::<Vec<_>>(), ["/srv/gone"]);
    }
}
