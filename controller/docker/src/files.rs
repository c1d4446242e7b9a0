//! Files that are put into a container that was never started: those of fronts from its own label, configs and secrets
//! from what is remembered of its revision. No bind mounts, so the engine may be on another host.

use bollard::{body_full, models::ContainerInspectResponse, query_parameters::UploadToContainerOptions};
use composed_core::engine::{ActionContext, EngineError};
use crd_schema::{ContainerFile, ContainerId, GeneratedFile, Revision};

use super::{Docker, errors::rejected, labels};

impl Docker {
    /// Writes the files of a label into a container, over those that are there. Readable for everybody in it: which
    /// user it runs as is its image's affair.
    pub(super) async fn put_files(&self, id: &ContainerId, label: &str) -> Result<(), EngineError> {
        let files: Vec<GeneratedFile> = serde_json::from_str(label).map_err(|error| rejected(error.to_string()))?;
        let tar = archive(&files).map_err(|error| rejected(error.to_string()))?;
        let options = UploadToContainerOptions { path: "/".to_owned(), ..UploadToContainerOptions::default() };
        self.api.call(self.api.client.upload_to_container(id.as_str(), Some(options), body_full(tar.into()))).await
    }

    /// Writes the configs and secrets of a container's revision into it.
    pub(super) async fn put_container_files(
        &self,
        container: &ContainerInspectResponse,
        context: &ActionContext,
    ) -> Result<(), EngineError> {
        let label = |name: &str| labels::get(container.config.as_ref()?.labels.as_ref()?, name).cloned();
        let (Some(count), Some(id)) = (label(labels::PUT), &container.id) else { return Ok(()) };
        let files = label(labels::REVISION).and_then(|revision| context.files.get(&Revision::new(revision)));
        let Some(files) = files.filter(|files| files.len().to_string() == count) else {
            let why = "the files that belong into it are not remembered: remove the container, and it is made anew";
            return Err(rejected(why.to_owned()));
        };
        let tar = container_archive(files).map_err(|error| rejected(error.to_string()))?;
        let options = UploadToContainerOptions { path: "/".to_owned(), ..UploadToContainerOptions::default() };
        self.api.call(self.api.client.upload_to_container(id, Some(options), body_full(tar.into()))).await
    }
}

/// Only the files: directories that are there stay as they are, and the engine makes those that are missing.
fn container_archive(files: &[ContainerFile]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(file.content.len()).unwrap_or(u64::MAX));
        header.set_mode(file.mode.unwrap_or(0o444));
        header.set_uid(file.uid.unwrap_or(0).into());
        header.set_gid(file.gid.unwrap_or(0).into());
        archive.append_data(&mut header, file.path.trim_start_matches('/'), file.content.as_bytes())?;
    }
    archive.into_inner()
}

fn archive(files: &[GeneratedFile]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut dirs: Vec<&str> = files.iter().filter_map(|file| Some(file.path.rsplit_once('/')?.0)).collect();
    dirs.sort_unstable();
    dirs.dedup();
    for dir in dirs.into_iter().filter(|dir| !dir.is_empty()) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(0o755);
        archive.append_data(&mut header, dir.trim_start_matches('/'), std::io::empty())?;
    }
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(file.content.len()).unwrap_or(u64::MAX));
        header.set_mode(0o644);
        archive.append_data(&mut header, file.path.trim_start_matches('/'), file.content.as_bytes())?;
    }
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_with_the_directory_they_are_in() {
        let file = |path: &str| GeneratedFile { path: path.to_owned(), content: "x".to_owned() };
        let tar = archive(&[file("/etc/a/b"), file("/etc/a/c")]).expect("an archive");
        let mut archive = tar::Archive::new(tar.as_slice());
        let names: Vec<_> = archive
            .entries()
            .expect("entries")
            .map(|entry| {
                let entry = entry.expect("an entry");
                (entry.path().expect("a path").display().to_string(), entry.header().mode().expect("a mode"))
            })
            .collect();
        let want = [("etc/a", 0o755), ("etc/a/b", 0o644), ("etc/a/c", 0o644)];
        assert_eq!(names, want.map(|(name, mode)| (name.to_owned(), mode)));
    }
}
