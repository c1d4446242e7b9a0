//! One commit, read whole from the object store: there is no work tree that could be half-written or tampered with.

use std::path::{Component, Path, PathBuf};

use super::command::{Git, GitError};
use super::objects::Objects;
use super::tree::{Node, Tree};
use crate::source::files::{Content, MAX_DEPTH, Reading, env_files, is_document};

/// So many documents are read of a commit.
const MAX_FILES: usize = 10_000;
/// So many bytes are read of a commit.
const MAX_BYTES: u64 = 64 << 20;

/// Reads the documents under `dir` of a commit, and the environment files that they name. In the reading each path begins
/// with `name`.
pub(super) async fn read(git: &Git, commit: &str, name: &str, dir: &str) -> Result<Result<Reading, String>, GitError> {
    let tree = Tree::of(git, commit).await?;
    let mut reader = Reader { objects: Objects::of(git)?, left: MAX_BYTES };
    let mut reading = Reading::default();
    if tree.under(dir).next().is_none() && !dir.is_empty() {
        let in_submodule = dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]);
        let mut parents = in_submodule.filter_map(|at| tree.get(dir.get(..at)?));
        return Ok(Err(match parents.next() {
            Some(Node::Submodule) => format!("{dir} is in a submodule, which is not read"),
            Some(_) => format!("{dir} is no directory"),
            None => format!("there is no directory {dir} in it"),
        }));
    }
    for (path, node) in tree.under(dir) {
        if !wanted(path, dir) || *node == Node::Submodule {
            continue;
        }
        if path.contains(char::is_control) {
            return Ok(Err(format!("the name {path:?} has characters that cannot be shown: give the file another")));
        }
        if reading.files.len() == MAX_FILES {
            return Ok(Err(format!("it has more than {MAX_FILES} documents")));
        }
        if let Some(content) = reader.at(&tree, path).await? {
            reading.files.push((format!("{name}/{path}"), content));
        }
    }
    for (file, content) in &reading.files {
        let Ok(bytes) = content else { continue };
        for shown in env_files(file, bytes) {
            let path = reading.dir(file).join(&shown);
            let content = match inside(&path, name) {
                Some(path) => reader.at(&tree, &path).await?,
                None => Some(Err(format!("{shown} is not in the repository, and only what is in the commit is read"))),
            };
            reading.env_files.insert(path, content);
        }
    }
    Ok(Ok(reading))
}

/// Whether a path is a document under `dir` that is not hidden.
fn wanted(path: &str, dir: &str) -> bool {
    let inside = path.strip_prefix(dir).unwrap_or(path).trim_start_matches('/');
    let hidden = inside.split('/').any(|part| part.starts_with('.'));
    !hidden && inside.matches('/').count() <= MAX_DEPTH && is_document(Path::new(path))
}

/// A path of the reading as one of the repository, if it is in there.
fn inside(path: &Path, name: &str) -> Option<String> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(part) => plain.push(part),
            Component::ParentDir if plain.pop() => {}
            _ => return None,
        }
    }
    plain.strip_prefix(name).ok()?.to_str().map(str::to_owned)
}

struct Reader {
    objects: Objects,
    left: u64,
}

impl Reader {
    /// The content of a file; `None` if there is none.
    async fn at(&mut self, tree: &Tree, path: &str) -> Result<Option<Content>, GitError> {
        let object = match tree.file(&mut self.objects, path).await? {
            Ok(Some(object)) => object,
            Ok(None) if tree.get(path).is_some() => return Ok(Some(Err("the link leads to no file".to_owned()))),
            Ok(None) => return Ok(None),
            Err(why) => return Ok(Some(Err(why))),
        };
        let size = self.objects.size(&object).await?;
        let most = crd_schema::MAX_FILE_BYTES as u64;
        if size > most {
            return Ok(Some(Err(format!("the file has {size} bytes; at most {most} are read"))));
        }
        self.left = self.left.checked_sub(size).ok_or_else(|| {
            GitError::TooMuch(format!("its documents and environment files have more than {MAX_BYTES} bytes"))
        })?;
        self.objects.content(&object).await.map(|bytes| Some(Ok(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_and_other_files_are_left_out() {
        assert!(
            wanted("deploy/web.yaml", "deploy") && wanted(".deploy/a/web.yml", ".deploy") && wanted("web.yaml", "")
        );
        for path in ["deploy/.web.yaml", "deploy/.git/web.yaml", "deploy/web.yaml.txt", "deploy/yaml"] {
            assert!(!wanted(path, "deploy"), "{path}");
        }
    }

    #[test]
    fn what_is_named_from_outside_is_outside() {
        assert_eq!(inside(Path::new("shop/deploy/../common.env"), "shop"), Some("common.env".to_owned()));
        for path in ["shop/../other.env", "shop/deploy/../../../x", "/etc/passwd", "../x"] {
            assert_eq!(inside(Path::new(path), "shop"), None, "{path}");
        }
    }
}
