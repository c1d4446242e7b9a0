//! The files of one commit, by their paths. Links are followed inside it, and nowhere else.

use std::collections::BTreeMap;

use super::command::{Git, GitError};
use super::mirror::LOCAL;
use super::objects::Objects;

/// A commit with more entries is not read.
const MAX_ENTRIES: usize = 200_000;
/// So many links are followed for one path.
const MAX_LINKS: usize = 16;
/// The longest target of a link in bytes.
const MAX_TARGET: u64 = 4096;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A file: the blob of its content.
    File(String),
    /// A link: the blob of its target.
    Link(String),
    /// Another repository, which is not read.
    Submodule,
}

/// All of a commit but its directories, which are in the paths.
#[derive(Debug, Default)]
pub(super) struct Tree(BTreeMap<String, Node>);

impl Tree {
    pub(super) async fn of(git: &Git, commit: &str) -> Result<Self, GitError> {
        let listing = git.run(&["ls-tree", "-r", "-z", "--full-tree", commit], LOCAL).await;
        Self::parse(&listing.map_err(|error| GitError::Broken(error.to_string()))?)
    }

    fn parse(listing: &[u8]) -> Result<Self, GitError> {
        let mut tree = BTreeMap::new();
        for line in listing.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
            if tree.len() == MAX_ENTRIES {
                return Err(GitError::TooMuch(format!("it has more than {MAX_ENTRIES} files")));
            }
            let line = String::from_utf8_lossy(line);
            let entry = line.split_once('\t').and_then(|(about, path)| {
                let mut words = about.split(' ');
                Some((words.next()?, words.nth(1)?, path))
            });
            let (mode, object, path) = entry.ok_or_else(|| GitError::Broken("git ls-tree".to_owned()))?;
            let node = match mode {
                "120000" => Node::Link(object.to_owned()),
                "160000" => Node::Submodule,
                _ => Node::File(object.to_owned()),
            };
            tree.insert(path.to_owned(), node);
        }
        Ok(Self(tree))
    }

    /// What is under a directory (empty: everything), by path from the root of the repository.
    pub(super) fn under<'a>(&'a self, dir: &'a str) -> impl Iterator<Item = (&'a str, &'a Node)> {
        let from = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let end = from.clone();
        let all = self.0.range(from..).take_while(move |(path, _)| path.starts_with(&end));
        all.map(|(path, node)| (path.as_str(), node))
    }

    /// What is at a path.
    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        self.0.get(path)
    }

    /// The blob at a path, links followed. `Ok(None)`: there is none. `Err`: it is not to be read, and why.
    pub(super) async fn file(
        &self,
        objects: &mut Objects,
        path: &str,
    ) -> Result<Result<Option<String>, String>, GitError> {
        let mut open: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut here: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = open.pop() {
            match part.as_str() {
                ".." if here.pop().is_none() => return Ok(Err(out_of(path))),
                "" | "." | ".." => continue,
                _ => here.push(part),
            }
            match self.get(&here.join("/")) {
                None => {}
                Some(Node::File(object)) if open.is_empty() => return Ok(Ok(Some(object.clone()))),
                Some(Node::File(_)) => return Ok(Ok(None)),
                Some(Node::Submodule) => return Ok(Err("it is in a submodule, which is not read".to_owned())),
                Some(Node::Link(object)) => {
                    links += 1;
                    if links > MAX_LINKS || objects.size(object).await? > MAX_TARGET {
                        return Ok(Err("the link leads to too many links".to_owned()));
                    }
                    let target = String::from_utf8_lossy(&objects.content(object).await?).into_owned();
                    if target.starts_with('/') {
                        return Ok(Err(out_of(path)));
                    }
                    here.pop();
                    open.extend(target.split('/').rev().map(str::to_owned));
                }
            }
        }
        Ok(Ok(None))
    }
}

fn out_of(path: &str) -> String {
    format!("{path} leads out of the repository, and only what is in the commit is read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_told_from_its_namesakes() {
        let id = "a".repeat(40);
        let line = |mode: &str, path: &str| format!("{mode} blob {id}\t{path}\0");
        let listing = [
            line("100644", "app-x/b.yaml"),
            line("120000", "app/a.yaml"),
            line("160000", "app/sub"),
            line("100755", "app.yaml"),
        ];
        let tree = Tree::parse(listing.concat().as_bytes()).unwrap();
        let under: Vec<_> = tree.under("app").map(|(path, _)| path).collect();
        assert_eq!(under, ["app/a.yaml", "app/sub"]);
        assert_eq!(tree.under("").count(), 4);
        assert_eq!(tree.get("app/sub"), Some(&Node::Submodule));
        assert_eq!(tree.get("app.yaml"), Some(&Node::File(id)));
    }
}
