//! A Compose file whose project has another name than before: what the earlier project has made stays as it is.

use std::collections::BTreeSet;

use composed_core::model::ServiceName;

use super::Catalog;

impl Catalog {
    /// Why a service is left as it is whose Compose file is of another project now, if it is one: it may be a second copy of the
    /// project (`-p`) as well as the same one under a new name, and its volumes have data that the new one does not get.
    pub fn renamed(&self, name: &ServiceName) -> Option<String> {
        let main = self.came.main(name).filter(|main| self.mains.contains(main))?;
        let projects: BTreeSet<_> = self.came.by(&main).into_iter().filter(|one| self.knows(one)).collect();
        let projects: BTreeSet<&str> = projects.iter().map(|one| one.project.as_str()).collect();
        // A project without any service left, or one that still has some, has not changed its name.
        if projects.is_empty() || projects.contains(name.project.as_str()) {
            return None;
        }
        let (old, new) = (&name.project, projects.into_iter().collect::<Vec<_>>().join(", "));
        let file = main.file_name().unwrap_or_default().to_string_lossy();
        Some(format!(
            "{file} is of project {new} now and was of {old}: what {old} made runs on beside it, and {new} begins with volumes \
             of its own; `name: {old}` (or -p {old}) takes it back, `docker compose -p {old} down` ends it"
        ))
    }
}
