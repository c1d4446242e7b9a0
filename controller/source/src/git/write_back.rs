//! Versions that were followed and proved themselves become commits: what the repository says and what runs are one again.
//! A commit changes one word of one file, comes after the one in force, and is judged like everybody's.

mod settings;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use composed_core::model::ServiceName;
use composed_status::store::StatusStore;
use crd_schema::ImageRef;
use crd_schema::status::{RevisionOutcome, ServiceStatus};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub use self::settings::WriteBack;
use super::command::GitError;
use super::follower::Follower;
use super::mirror::LOCAL;
use super::objects::Objects;
use super::tree::{Node, Tree};

/// What could not be written is tried again after so long.
const RETRY_INTERVAL: Duration = Duration::from_mins(1);

/// A service that runs a higher version than its document names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VersionUpdate {
    service: ServiceName,
    /// The document's file in the repository.
    file: String,
    from: ImageRef,
    to: ImageRef,
}

impl VersionUpdate {
    /// What there is to write of a service, and into which repository: its version is available, the document names another.
    fn of(status: &ServiceStatus) -> Option<(String, Self)> {
        let update = status.update.as_ref()?;
        let from = update.raised_from.clone()?;
        let newest = status.history.first().filter(|record| record.image == update.image)?;
        let proved = newest.outcome == RevisionOutcome::Available && newest.revision == status.revision;
        let place = status.source.as_ref()?.split_once(' ')?.1;
        let file = place.rsplit_once(':')?.0.to_owned();
        let repository = status.commit.as_ref().filter(|_| proved)?.repository.clone();
        let service = ServiceName::new(&status.project, &status.name);
        Some((repository, Self { service, file, from, to: update.image.clone() }))
    }
}

/// Tells followers what there is to write back, until the last of them ends.
pub(super) async fn watch_raises(statuses: Arc<StatusStore>, writers: BTreeMap<String, mpsc::Sender<VersionUpdate>>) {
    let mut version = statuses.version();
    let mut told: BTreeMap<ServiceName, (ImageRef, Instant)> = BTreeMap::new();
    loop {
        for (repository, raise) in statuses.all().iter().filter_map(|status| VersionUpdate::of(status)) {
            let Some(writer) = writers.get(&repository) else { continue };
            let fresh = |(to, at): &(ImageRef, Instant)| *to == raise.to && at.elapsed() < RETRY_INTERVAL;
            if told.get(&raise.service).is_some_and(fresh) {
                continue;
            }
            told.insert(raise.service.clone(), (raise.to.clone(), Instant::now()));
            // One that has much to do is told again later.
            drop(writer.try_send(raise));
        }
        if writers.values().all(mpsc::Sender::is_closed) {
            return;
        }
        tokio::select! {
            changed = version.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY_INTERVAL) => {}
        }
    }
}

impl Follower {
    /// Writes a version back; what is wrong is said and tried again later.
    pub(super) async fn write_back(&mut self, raise: &VersionUpdate) {
        let (service, repository) = (&raise.service, &self.source.name);
        let (from, to) = (raise.from.as_str(), raise.to.as_str());
        match self.commit(raise).await {
            Ok(commit) => tracing::info!(%service, from, to, commit, repository, "the version is written back"),
            Err(error) => tracing::warn!(%service, from, to, repository, "the version is not written back: {error}"),
        }
    }

    async fn commit(&self, raise: &VersionUpdate) -> Result<String, GitError> {
        let wrong = |why: String| GitError::Failed(format!("{}: {why}", raise.file));
        let in_force = self.kept.as_ref().zip(self.in_force.as_ref());
        let Some((back, (kept, offer))) = self.source.write_back.as_ref().zip(in_force) else {
            return Err(GitError::Failed("nothing is in force yet".to_owned()));
        };
        let (git, base) = (&self.mirror.git, kept.commit.id.as_str());
        let tree = Tree::of(git, base).await?;
        let Some(Node::File(object)) = tree.get(&raise.file) else {
            return Err(wrong("it is no file of its own".to_owned()));
        };
        let bytes = Objects::of(git)?.content(object).await?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8 text".to_owned()))?;
        let (project, name) = (&raise.service.project, &raise.service.name);
        let text = crd_schema::edit::with_image(&text, project, name, &raise.from, &raise.to).map_err(wrong)?;

        // One of its own each time: a git that was ended in the middle leaves its lock behind.
        let place = tempfile::tempdir_in(&self.room).map_err(|error| GitError::Failed(error.to_string()))?;
        let index = place.path().join("index");
        let environment = [("GIT_INDEX_FILE", index.as_os_str())];
        let blob = git.told(&["hash-object", "-w", "--stdin"], &[], text.as_bytes(), LOCAL).await?;
        git.told(&["read-tree", base], &environment, &[], LOCAL).await?;
        let listed = git.text(&["ls-tree", base, "--", &raise.file], LOCAL).await?;
        let mode = listed.split(' ').next().unwrap_or_default();
        let entry = format!("{mode},{blob},{}", raise.file);
        git.told(&["update-index", "--cacheinfo", &entry], &environment, &[], LOCAL).await?;
        let tree = git.told(&["write-tree"], &environment, &[], LOCAL).await?;
        let (who, mail) = (OsStr::new(&back.author.0), OsStr::new(&back.author.1));
        let author = ["AUTHOR", "COMMITTER"].map(|role| (format!("GIT_{role}_NAME"), format!("GIT_{role}_EMAIL")));
        let author: Vec<_> =
            author.iter().flat_map(|(names, mails)| [(names.as_str(), who), (mails.as_str(), mail)]).collect();
        let message = format!("{}: {} to {}\n\nIt runs and is available.\n", raise.service, raise.from, raise.to);
        let words = ["commit-tree", &tree, "-p", base, "-F", "-"];
        let commit = git.told(&words, &author, message.as_bytes(), LOCAL).await?;
        self.mirror.push(&back.access, &commit, &offer.name).await?;
        Ok(commit)
    }
}
