//! The git command, as people use it.

use std::path::Path;
use std::process::Command;

/// Runs git in a directory; it must succeed. Returns what it says, trimmed.
///
/// # Panics
/// When it does not succeed.
pub fn git(dir: &Path, words: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=e2e", "-c", "user.email=e2e@shop.example", "-c", "commit.gpgsign=false"]);
    command.args(["-c", "init.defaultBranch=main"]).args(words).current_dir(dir);
    let output = command.output().expect("git runs");
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
