//! The program itself on files from strangers: what is too large, too deep or too clever is refused within 100 MB of memory,
//! which the kernel holds it to.

use std::path::Path;
use std::process::{Command, Output};

/// What it may take for all that it writes to, in kilobytes.
const MEMORY: &str = "100000";

/// `composed validate -f FILE`, with no more memory than that.
fn validate(dir: &Path, file: &str, memory: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -d \"$1\" && shift && exec \"$@\"", "sh", memory]);
    command.arg(env!("CARGO_BIN_EXE_composed")).args(["validate", "-f", file]).current_dir(dir);
    command.output().expect("a shell")
}

fn bomb() -> String {
    let mut bomb = "x-0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let previous = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("x-{level}: &a{level} [{previous}]\n"));
    }
    bomb
}

#[test]
fn hostile_files_are_refused_within_their_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("a file");
    write("big.yaml", &"a: b\n".repeat(20_000_000));
    write("deep.yaml", &"- ".repeat(10_000));
    write("deeper.yaml", &"services: {a: ".repeat(10_000));
    write("bomb.yaml", &bomb());
    write("variables.yaml", "services: {web: {image: x, env_file: big.env}}\n");
    write("big.env", &"A=b\n".repeat(25_000_000));
    let cases = [
        ("big.yaml", "the file has 100000000 bytes"),
        ("deep.yaml", "deep"),
        ("deeper.yaml", "not valid YAML"),
        ("bomb.yaml", "aliases"),
        ("variables.yaml", "the file has 100000000 bytes"),
    ];
    for (file, word) in cases {
        let output = validate(dir.path(), file, MEMORY);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{file}: {:?} {said}", output.status);
        assert!(said.contains(word) && said.len() < 4000, "{file}: {said}");
    }
    // The kernel does hold it to that.
    let output = validate(dir.path(), "bomb.yaml", "1000");
    assert_ne!(output.status.code(), Some(2), "with 1 MB it cannot even start");
}
