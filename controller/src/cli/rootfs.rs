//! This very program as the root file system of an image, so that the demo and the tests need no registry and no build:
//! the executable as `/composed`, and the shared libraries that it runs with, at the paths it finds them at.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A tar archive for `Docker::import_image`. Linux only: containers run nothing else.
pub fn own_rootfs() -> Result<Vec<u8>> {
    anyhow::ensure!(
        cfg!(target_os = "linux"),
        "this program is not a Linux one and cannot run in a container: use a Linux build of composed"
    );
    let maps = std::fs::read_to_string("/proc/self/maps").context("cannot read /proc/self/maps")?;
    let own = std::env::current_exe().context("cannot find this program")?;
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, &own, Path::new("composed"))?;
    for library in libraries(&maps, &own) {
        append(&mut archive, &library, library.strip_prefix("/").unwrap_or(&library))?;
    }
    if let Some(interpreter) = interpreter(&std::fs::read(&own).context("cannot read this program")?) {
        append(&mut archive, &interpreter, interpreter.strip_prefix("/").unwrap_or(&interpreter))?;
    }
    archive.into_inner().context("cannot write the archive")
}

/// The files with code that a process has mapped, but for the program itself.
fn libraries(maps: &str, own: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = maps
        .lines()
        // address perms offset dev inode path: see proc(5). A path may have spaces.
        .filter_map(|line| line.find('/').and_then(|at| line.get(at..)))
        .map(PathBuf::from)
        .filter(|file| file != own && file.file_name().is_some_and(|name| name.to_string_lossy().contains(".so")))
        .collect();
    files.sort();
    files.dedup();
    files
}

/// The dynamic linker that an ELF file names: its path need not be the one it is mapped from.
fn interpreter(elf: &[u8]) -> Option<PathBuf> {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, len: usize| -> Option<u64> {
        let bytes = elf.get(at..at.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    // 64-bit, little endian: what composed is built for. Source: elf(5).
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let table = usize::try_from(number(32, 8)?).ok()?;
    let (size, count) = (usize::try_from(number(54, 2)?).ok()?, usize::try_from(number(56, 2)?).ok()?);
    let header = (0..count).map(|index| table + index * size).find(|at| number(*at, 4) == Some(PT_INTERP.into()))?;
    let start = usize::try_from(number(header + 8, 8)?).ok()?;
    let len = usize::try_from(number(header + 32, 8)?).ok()?;
    let name = elf.get(start..start + len)?.split(|byte| *byte == 0).next()?;
    String::from_utf8(name.to_vec()).ok().map(PathBuf::from)
}

fn append(archive: &mut tar::Builder<Vec<u8>>, from: &Path, to: &Path) -> Result<()> {
    // What a link leads to, under the name that the program knows.
    let content = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    let mut header = tar::Header::new_gnu();
    header.set_size(u64::try_from(content.len())?);
    header.set_mode(0o755);
    archive
        .append_data(&mut header, to, content.as_slice())
        .with_context(|| format!("cannot add {} to the archive", from.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_mapped_shared_objects() {
        let maps = "55d0-55d1 r--p 0 08:01 1  /opt/my app/composed\n\
                    7f00-7f01 r-xp 0 08:01 2  /lib/x86_64-linux-gnu/libc.so.6\n\
                    7f01-7f02 rw-p 0 08:01 2  /lib/x86_64-linux-gnu/libc.so.6\n\
                    7f03-7f04 rw-p 0 00:00 0\n\
                    7ffc-7ffd rw-p 0 00:00 0  [stack]\n";
        let found = libraries(maps, Path::new("/opt/my app/composed"));
        assert_eq!(found, [PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6")]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_archive_holds_the_program_and_its_interpreter() -> Result<()> {
        let tar = own_rootfs()?;
        let names: Vec<PathBuf> = tar::Archive::new(tar.as_slice())
            .entries()?
            .map(|entry| Ok(entry?.path()?.into_owned()))
            .collect::<Result<_>>()?;
        assert!(names.contains(&PathBuf::from("composed")));
        let own = std::fs::read(std::env::current_exe()?)?;
        if let Some(interpreter) = interpreter(&own) {
            assert!(names.contains(&interpreter.strip_prefix("/")?.to_path_buf()), "{names:?}");
        }
        Ok(())
    }
}
