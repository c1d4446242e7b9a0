//! One file of the disk, read as it is when it is opened.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::text::Content;

/// A file of which it is certain that it is a regular one: what waits for its other end is not waited for.
pub(super) fn open(path: &Path) -> Result<File, String> {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let opened = File::options().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| error.to_string())?;
    match file.metadata() {
        Ok(about) if about.is_file() => Ok(file),
        Ok(_) => Err("it is not a regular file".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The content of an open file, whatever becomes of it meanwhile.
pub(super) fn text(file: &File) -> Content {
    const MAX_BYTES: u64 = crd_schema::MAX_FILE_BYTES as u64;
    let bytes = file.metadata().map_err(|error| error.to_string())?.len();
    let mut text = Vec::new();
    if bytes <= MAX_BYTES {
        file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    }
    match bytes.max(text.len() as u64) {
        bytes if bytes > MAX_BYTES => Err(format!("the file has {bytes} bytes; at most {MAX_BYTES} are read")),
        _ => Ok(text.into()),
    }
}
