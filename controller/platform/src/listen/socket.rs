//! The unix socket: one controller has it at a time, and nobody takes another's.

use std::io::{Error, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

/// A socket that somebody else has is tried again after so long.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// A socket file that this process has made: removed with this, if it is still the same.
#[derive(Debug)]
pub struct BoundSocket {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        let same = |about: std::fs::Metadata| (about.dev(), about.ino()) == (self.device, self.inode);
        if std::fs::symlink_metadata(&self.path).is_ok_and(same) {
            // A socket that is left is replaced by the next controller.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Listens on `path`, the value of `option`, as soon as nobody else does.
pub async fn bind(path: &Path, option: &str) -> std::io::Result<(UnixListener, BoundSocket)> {
    if let Some(parent) = path.parent() {
        tokio::fs::create_dir_all(parent).await?;
    }
    let mut said = false;
    while taken(path).await? {
        if !said {
            let socket = path.display();
            tracing::warn!(%socket, "another controller serves there: this one waits, or give it another {option}");
            said = true;
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
    let listener = UnixListener::bind(path)?;
    let about = std::fs::symlink_metadata(path)?;
    let own = BoundSocket { path: path.to_owned(), device: about.dev(), inode: about.ino() };
    tokio::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).await?;
    Ok((listener, own))
}

/// Whether somebody listens on `path`. What a controller that is gone has left there is removed; nothing else is.
async fn taken(path: &Path) -> std::io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
        Ok(about) if !about.file_type().is_socket() => {
            return Err(Error::new(ErrorKind::AlreadyExists, "a file that is not a socket is there"));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(false),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        // Too many wait there to be let in.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
        Ok(_) => Ok(true),
    }
}
