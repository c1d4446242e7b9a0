//! One commit, read whole from the object store: there is no work tree that could be half-written or tampered with.

use std::path::{Component, Path, PathBuf};

use super::command::{Git, GitError};
use super::objects::Objects;
use super::source::{GitSource, of_host};
use super::tree::{Node, Tree};
use crate::compose;
use crate::files::{MAX_DEPTH, env_files, is_document};
use crate::reading::Reading;
use crate::text::Content;

/// So many documents are read of a commit.
const MAX_FILES: usize = 10_000;
/// So many bytes are read of a commit.
const MAX_BYTES: u64 = 64 << 20;

/// Reads the documents of a source in a commit, and the files that they name. In the reading each path begins with the
/// source's name.
pub(super) async fn read(git: &Git, commit: &str, source: &GitSource) -> Result<Result<Reading, String>, GitError> {
    let GitSource { name, path: dir, .. } = source;
    let tree = Tree::of(git, commit).await?;
    let mut reader = Reader { objects: Objects::of(git)?, tree, source, left: MAX_BYTES };
    let mut reading = Reading::default();
    if reader.tree.under(dir).next().is_none() && !dir.is_empty() {
        let in_submodule = dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]);
        let mut parents = in_submodule.filter_map(|at| reader.tree.get(dir.get(..at)?));
        return Ok(Err(match parents.next() {
            Some(Node::Submodule) => format!("{dir} is in a submodule, which is not read"),
            Some(_) => format!("{dir} is no directory"),
            None => format!("there is no directory {dir} in it"),
        }));
    }
    let under = reader.tree.under(dir).filter(|(path, node)| wanted(path, dir) && **node != Node::Submodule);
    let documents: Vec<_> = under.map(|(path, _)| path.to_owned()).collect();
    if documents.len() > MAX_FILES {
        return Ok(Err(format!("it has more than {MAX_FILES} documents")));
    }
    for path in documents {
        if path.contains(char::is_control) {
            return Ok(Err(format!("the name {path:?} has characters that cannot be shown: give the file another")));
        }
        if let Some(content) = reader.at(&path).await? {
            reading.files.push((format!("{name}/{path}"), content));
        }
    }
    if let Err(why) = reader.compose(&mut reading).await? {
        return Ok(Err(why));
    }
    for (file, content) in &reading.files {
        let Ok(bytes) = content else { continue };
        for shown in env_files(file, bytes) {
            let path = reading.dir(file).join(&shown);
            let content = reader.named(&path).await?;
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

struct Reader<'a> {
    objects: Objects,
    tree: Tree,
    source: &'a GitSource,
    left: u64,
}

impl Reader<'_> {
    /// Finds the Compose projects of a reading, and reads what they are made of into it.
    async fn compose(&mut self, reading: &mut Reading) -> Result<Result<(), String>, GitError> {
        let (requests, nested) = match compose::requests(reading, &self.source.compose) {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        for (main, request) in requests {
            // An included file names further ones.
            loop {
                let missing = compose::missing(reading, &main, &request);
                if missing.is_empty() {
                    break;
                }
                if reading.env_files.len() + missing.len() > MAX_FILES {
                    return Ok(Err(format!("its Compose files are made of more than {MAX_FILES} files")));
                }
                for path in missing {
                    let content = self.named(&path).await?;
                    reading.env_files.insert(path, content);
                }
            }
            reading.compose.requests.insert(main, request);
        }
        compose::set_apart(reading, nested);
        Ok(Ok(()))
    }

    /// The content of a file that a document or the command line names.
    async fn named(&mut self, path: &Path) -> Result<Option<Content>, GitError> {
        if let Some(path) = inside(path, &self.source.name) {
            return self.at(&path).await;
        }
        if self.source.variables().any(|file| file == path) {
            return Ok(of_host(path));
        }
        let shown = path.strip_prefix(&self.source.name).unwrap_or(path).display();
        let why = format!("{shown} is not in the repository, and only what is in the commit is read");
        Ok(Some(Err(why)))
    }

    /// The content of a file; `None` if there is none.
    async fn at(&mut self, path: &str) -> Result<Option<Content>, GitError> {
        let object = match self.tree.file(&mut self.objects, path).await? {
            Ok(Some(object)) => object,
            Ok(None) if self.tree.get(path).is_some() => return Ok(Some(Err("the link leads to no file".to_owned()))),
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
        self.objects.content(&object).await.map(|bytes| Some(Ok(bytes.into())))
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
