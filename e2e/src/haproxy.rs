//! A real HAProxy as an image, of what this host's package manager has: the program and its libraries, no registry.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::docker::Docker;
use crate::program::{image, target};
use crate::stage::say;

/// The name of the image, or why it cannot be had. The first call makes it; without a `haproxy` on this host it is
/// installed with apt-get.
pub fn haproxy_image() -> Result<String, String> {
    static MADE: OnceLock<Result<String, String>> = OnceLock::new();
    MADE.get_or_init(|| haproxy_image_on(&Docker::default())).clone()
}

/// As [`haproxy_image`]; `None` is told in a line, and fails if `COMPOSED_REQUIRE_DOCKER` is 1.
pub fn haproxy_or_skip(name: &str) -> Option<String> {
    match haproxy_image() {
        Ok(image) => Some(image),
        Err(why) => {
            assert!(std::env::var("COMPOSED_REQUIRE_DOCKER").as_deref() != Ok("1"), "no HAProxy: {why}");
            say(&format!("SKIPPED {name}: no HAProxy ({why})"));
            None
        }
    }
}

/// The same on an engine of one's own, made anew.
pub fn haproxy_image_on(docker: &Docker) -> Result<String, String> {
    let program = installed().or_else(|| {
        say("  installing haproxy with apt-get");
        let install = ["install", "-y", "--no-install-recommends", "haproxy"];
        // Whether it is there is looked at below.
        drop(Command::new("apt-get").args(install).env("DEBIAN_FRONTEND", "noninteractive").output());
        installed()
    });
    let program = program.ok_or("neither `haproxy` nor `apt-get install haproxy` works here")?;
    let root = target().join(format!("haproxy-{}", std::process::id()));
    let put = |from: &Path, to: &Path| -> std::io::Result<()> {
        let to = root.join(to.strip_prefix("/").unwrap_or(to));
        std::fs::create_dir_all(to.parent().unwrap_or(&root))?;
        std::fs::copy(from, to).map(drop)
    };
    let words = |error: std::io::Error| error.to_string();
    put(&program, Path::new("/usr/sbin/haproxy")).map_err(words)?;
    let linked = Command::new("ldd").arg(&program).output().map_err(words)?;
    let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
    // `libc.so.6 => /lib/.../libc.so.6 (0x...)`, or the linker itself without an arrow.
    for library in linked.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/'))) {
        put(Path::new(library), Path::new(library)).map_err(words)?;
    }
    let archive = Command::new("tar").args(["-C"]).arg(&root).args(["-c", "."]).output().map_err(words)?;
    std::fs::remove_dir_all(&root).map_err(words)?;
    if !archive.status.success() {
        return Err(String::from_utf8_lossy(&archive.stderr).into_owned());
    }
    let name = image("haproxy");
    docker.import(&archive.stdout, &name, &[]);
    Ok(name)
}

fn installed() -> Option<PathBuf> {
    ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"].into_iter().map(PathBuf::from).find(|path| path.exists())
}
