//! Whether a commit is to be in force: it goes on from the last one, who asks for it may, and all of it is valid.

use crd_schema::status::CommitStatus;

use super::command::GitError;
use super::follower::Follower;
use super::kept::AcceptedCommit;
use super::read::read;
use super::refs::{Follow, Offer, version};
use crate::catalog::Catalog;
use crate::origin::RepositoryOrigin;
use crate::reading::Reading;

/// Why a commit is not taken; an error tells nothing about the commit.
pub(super) type Verdict = Result<Result<AcceptedReading, String>, GitError>;

/// A commit that is to be in force.
pub(super) struct AcceptedReading {
    pub(super) reading: Reading,
    pub(super) catalog: Catalog,
    pub(super) kept: AcceptedCommit,
}

impl Follower {
    /// Whether an object that was fetched is to be in force.
    pub(super) async fn judge(&self, offer: &Offer, object: &str) -> Verdict {
        let source = &self.source;
        let commit = self.mirror.about(object, &source.name).await?;
        let refuse = |why: &str| Ok(Err(source.problem(why, Some(&commit))));
        if let Some(why) = self.rewritten(offer, &commit).await? {
            return refuse(&why);
        }
        if let Some(why) = source.signed.doubt(&self.mirror.git, object, &offer.name).await? {
            return refuse(&why);
        }
        let filled = source.filled();
        let emptied = self.kept.iter().flat_map(|kept| &kept.filled).find(|file| !filled.contains(*file));
        if let Some(file) = emptied.filter(|file| source.variables().any(|named| named == **file)) {
            return refuse(&format!("{} had variables and has none now: write it again", file.display()));
        }
        let mut reading = match read(&self.mirror.git, &commit.id, source).await {
            Ok(Ok(reading)) => reading,
            Ok(Err(why)) | Err(GitError::TooMuch(why)) => return refuse(&why),
            Err(error) => return Err(error),
        };
        let host_root = source.host_root.clone();
        let origin = RepositoryOrigin { commit: commit.clone(), host_root, ..RepositoryOrigin::default() };
        reading.origins.insert(source.name.clone(), origin);
        reading.host_name = source.host_name.clone();
        let catalog = Catalog::new(&reading, &self.catalog);
        if !catalog.problems.is_empty() {
            return refuse(&catalog.problems.join("\n"));
        }
        let mut kept = AcceptedCommit::after(self.kept.as_ref(), object, &offer.name, &commit, &catalog);
        kept.filled = filled;
        if let Some(origin) = reading.origins.get_mut(&source.name) {
            origin.asked = kept.asked();
        }
        Ok(Ok(AcceptedReading { reading, catalog, kept }))
    }

    /// Why a commit does not go on from the last good one, if it does not.
    async fn rewritten(&self, offer: &Offer, commit: &CommitStatus) -> Result<Option<String>, GitError> {
        let Some(kept) = self.kept.as_ref().filter(|kept| kept.commit.id != commit.id) else { return Ok(None) };
        if self.source.allow_rewrite {
            return Ok(None);
        }
        let from = kept.commit.short();
        let advice = "push a commit that does, or allow it once (--git-allow-rewrite, allow_rewrite: true)";
        if let (Follow::Versions(_), Some(old), Some(new)) = (&self.follow, version(&kept.name), version(&offer.name)) {
            if new > old {
                return Ok(None);
            }
            if new < old {
                return Ok(Some(format!("it is version {new}, and {old} is in force: tag a higher version; {advice}")));
            }
        }
        if self.mirror.descends(&kept.commit.id, &commit.id).await? {
            return Ok(None);
        }
        Ok(Some(format!("history was rewritten: it does not come after {from}, which is in force; {advice}")))
    }
}
