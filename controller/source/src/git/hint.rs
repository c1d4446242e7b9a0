//! Notices commits in a repository on this host's disk. A hint and only that: git is asked what is there.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// Watches where a repository keeps its refs: loose, packed or as tables. Ends with this.
pub(super) struct Hints {
    hints: mpsc::Receiver<()>,
    _watcher: Option<notify::RecommendedWatcher>,
}

impl Hints {
    /// Begins to watch; without the system's help there are no hints, and the interval has to do.
    pub(super) fn of(repository: &Path) -> Self {
        let (hint, hints) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| !event.kind.is_access() && event.paths.iter().any(|path| is_ref(path))) {
                // Full is as good as sent: one hint is enough.
                hint.try_send(()).ok();
            }
        });
        let dir = git_dir(repository);
        let watcher = watcher.and_then(|mut watcher| {
            watcher.watch(&dir, RecursiveMode::NonRecursive)?;
            watcher.watch(&dir.join("refs"), RecursiveMode::Recursive)?;
            if dir.join("reftable").is_dir() {
                watcher.watch(&dir.join("reftable"), RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        Self { hints, _watcher: watcher.ok() }
    }

    /// Ends when something may have changed, or never.
    pub(super) async fn next(&mut self) {
        if self.hints.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Whether a path is where refs are. Locks are taken before anything has changed.
fn is_ref(path: &Path) -> bool {
    let refs = |part: &OsStr| part == "refs" || part == "packed-refs" || part == "reftable";
    path.extension() != Some(OsStr::new("lock")) && path.iter().any(refs)
}

/// Where a repository keeps its refs: it may be bare, a work tree, or one work tree of several.
fn git_dir(repository: &Path) -> PathBuf {
    let inner = repository.join(".git");
    if inner.is_dir() {
        return inner;
    }
    let line = |file: &Path| std::fs::read_to_string(file).ok().map(|text| text.trim().to_owned());
    let linked = line(&inner).and_then(|text| Some(repository.join(text.strip_prefix("gitdir:")?.trim())));
    let dir = linked.unwrap_or_else(|| repository.to_owned());
    line(&dir.join("commondir")).map_or(dir.clone(), |common| dir.join(common))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_are_found_in_every_kind_of_repository() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for dir in ["tree/.git/worktrees/other", "bare.git", "other"] {
            std::fs::create_dir_all(path(dir)).unwrap();
        }
        std::fs::write(path("other/.git"), format!("gitdir: {}\n", path("tree/.git/worktrees/other").display()))
            .unwrap();
        std::fs::write(path("tree/.git/worktrees/other/commondir"), "../..\n").unwrap();
        assert_eq!(git_dir(&path("tree")), path("tree/.git"));
        assert_eq!(git_dir(&path("bare.git")), path("bare.git"));
        assert_eq!(git_dir(&path("other")).canonicalize().unwrap(), path("tree/.git").canonicalize().unwrap());
    }

    #[test]
    fn only_refs_are_a_hint() {
        let hint = |path: &str| is_ref(Path::new(path));
        assert!(hint("/x/.git/refs/heads/main") && hint("/x/.git/packed-refs") && hint("/x/.git/reftable/tables.list"));
        assert!(!hint("/x/.git/index") && !hint("/x/.git/refs/heads/main.lock") && !hint("/x/.git/COMMIT_EDITMSG"));
    }
}
