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

/// `composed validate DIRECTORY`, with no more memory than that.
fn validate_directory(dir: &Path, memory: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -d \"$1\" && shift && exec \"$@\"", "sh", memory]);
    command.arg(env!("CARGO_BIN_EXE_composed")).arg("validate").arg(dir);
    command.output().expect("a shell")
}

/// A few kilobytes that stand for gigabytes, and many files that are together too much.
#[test]
fn what_files_stand_for_is_bounded_as_a_sum() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    };
    let ranges = "\"1-65535\", ".repeat(400);
    let service = |n: usize, spec: &str| {
        format!(
            "---\napiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: a, name: s{n}}}\nspec: {{image: x, {spec}}}\n"
        )
    };
    write("ranges.yaml", &format!("services: {{web: {{image: x, ports: [{ranges}]}}}}"));
    let long = "x".repeat(500_000);
    write(
        "alias.yaml",
        &format!("x-a: &a {long}\nservices: {{web: {{image: x, command: [{}]}}}}", "*a, ".repeat(40_000)),
    );
    for (file, word) in [("ranges.yaml", "ranges of ports"), ("alias.yaml", "aliases")] {
        let output = validate(dir.path(), file, MEMORY);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{file}: {:?} {said}", output.status);
        assert!(said.contains(word) && said.len() < 4000, "{file}: {said}");
    }
    // Each file is as large as one may be; one file of variables for all services.
    for file in 0..70 {
        write(&format!("large/{file}.yaml"), &format!("# {}\n", "x".repeat(1_000_000)));
    }
    let each: String = (0..400).map(|n| service(n, "env_file: [big.env]")).collect();
    write("variables/services.yaml", &each);
    write("variables/big.env", &format!("BIG={long}\nMORE={long}\n"));
    for file in 0..60 {
        let ports: String = (0..5).map(|n| service(file * 5 + n, "ports: [\"1000-12000\"]")).collect();
        write(&format!("ports/{file}.yaml"), &ports);
    }
    // What was read before it is too much needs memory, too.
    for (directory, word, memory) in [
        ("large", "64 MiB", "200000"),
        ("variables", "more than 2000000 values", "256000"),
        ("ports", "more than 2000000 values", "256000"),
    ] {
        let output = validate_directory(&dir.path().join(directory), memory);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{directory}: {:?} {said}", output.status);
        assert!(said.contains(word) && said.len() < 4000, "{directory}: {said}");
    }
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
