//! A disk that hangs: a file system in a file, which `fsfreeze` freezes. Who writes there waits, and cannot be killed, until
//! it is thawed; who reads does not. It needs root and a loop device.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The file system, mounted; gone when it is dropped.
#[derive(Debug)]
pub struct Disk {
    dir: PathBuf,
}

/// While this is there, writing hangs. Drop it before what writes.
#[derive(Debug)]
pub struct Frozen<'a>(&'a Disk);

impl Disk {
    /// Mounts it on the directory `dir`, which is made, from a file beside that.
    ///
    /// # Errors
    /// Why this machine cannot.
    pub fn mount(dir: &Path) -> Result<Self, String> {
        let image = dir.with_extension("img");
        let (at, from) = (dir.display().to_string(), image.display().to_string());
        std::fs::create_dir_all(dir).map_err(|error| error.to_string())?;
        run(&["truncate", "-s", "64M", &from])?;
        run(&["mkfs.ext4", "-q", &from])?;
        // The loop device goes with the mount.
        run(&["mount", "-o", "loop", &from, &at])?;
        let disk = Self { dir: dir.to_owned() };
        // What cannot be frozen is of no use; and it must go on afterwards.
        run(&["fsfreeze", "-f", &at])?;
        run(&["fsfreeze", "-u", &at])?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Freezes it.
    pub fn freeze(&self) -> Frozen<'_> {
        run(&["fsfreeze", "-f", &self.dir.display().to_string()]).expect("it could be frozen before");
        Frozen(self)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        drop(run(&["fsfreeze", "-u", &self.0.dir.display().to_string()]));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(run(&["umount", "-l", &self.dir.display().to_string()]));
    }
}

fn run(words: &[&str]) -> Result<(), String> {
    let (program, args) = words.split_first().expect("words");
    match Command::new(program).args(args).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("{program}: {error}")),
    }
}
