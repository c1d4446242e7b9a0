//! Reads the documents under a directory, or one file. Only reads: what is in them is judged in `catalog`.

use std::path::{Path, PathBuf};

/// Directories deeper than this are not looked into.
const MAX_DEPTH: usize = 16;

/// One look at the desired-state directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Every document file with its bytes, or why it could not be read, by path relative to the root, in order.
    pub files: Vec<(String, Result<Vec<u8>, String>)>,
    /// The other files, with size and time of change: documents may name them as environment files.
    pub others: Vec<(String, u64, Option<std::time::SystemTime>)>,
    /// The root itself cannot be read.
    pub broken: Option<String>,
    /// A single file was asked for: what it does not mention is none of its business.
    pub single: bool,
    /// Paths in documents are relative to the document's directory under this.
    pub root: PathBuf,
}

/// Reads all `.yaml` and `.yml` files under `path`, or the file `path` itself. Hidden files and directories are left
/// out, so editors' swap files and Kubernetes' `..data` do no harm; links to files are followed.
pub fn read(path: &Path) -> Reading {
    let mut reading = Reading::default();
    if path.is_file() {
        reading.single = true;
        reading.root = path.parent().map(Path::to_owned).unwrap_or_default();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        reading.files.push((name, content(path)));
        return reading;
    }
    path.clone_into(&mut reading.root);
    if let Err(error) = walk(path, "", 0, &mut reading) {
        reading.broken = Some(format!("{}: {error}", path.display()));
    }
    reading.files.sort_by(|a, b| a.0.cmp(&b.0));
    reading.others.sort();
    reading
}

fn walk(dir: &Path, prefix: &str, depth: usize, reading: &mut Reading) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        let shown = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if depth < MAX_DEPTH {
                walk(&path, &format!("{shown}/"), depth + 1, reading)?;
            }
        } else if is_document(&path) && (kind.is_file() || path.is_file() || !path.exists()) {
            reading.files.push((shown, content(&path)));
        } else if let Ok(about) = std::fs::metadata(&path) {
            reading.others.push((shown, about.len(), about.modified().ok()));
        }
    }
    Ok(())
}

fn is_document(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn content(path: &Path) -> Result<Vec<u8>, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > crd_schema::MAX_FILE_BYTES as u64 {
        return Err(format!("the file has {size} bytes; at most {} are read", crd_schema::MAX_FILE_BYTES));
    }
    std::fs::read(path).map_err(|error| error.to_string())
}
