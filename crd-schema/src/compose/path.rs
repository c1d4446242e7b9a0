//! Two kinds of paths: keys within a Compose file (`services.*.ports`), and files, by their words alone.

/// Whether the keys are those of a pattern; `*` stands for one key.
pub(super) fn matches<S: AsRef<str>>(pattern: &str, path: &[S]) -> bool {
    let mut words = pattern.split('.');
    let same = path.iter().all(|key| words.next().is_some_and(|word| word == "*" || word == key.as_ref()));
    same && words.next().is_none()
}

/// The file `path` as seen from the directory `base`: without `.`, and without `..` but at its start. Relative to the
/// project directory, which is `.`, or absolute.
pub(super) fn join(base: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let root = whole.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match (part, parts.last()) {
            ("" | ".", _) => {}
            ("..", Some(&last)) if last != ".." => drop(parts.pop()),
            ("..", None) if root => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (root, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// The directory that a file is in.
pub(super) fn parent(path: &str) -> String {
    join(path, "..")
}

/// A path of the host as a bind mount writes it, so that it is not taken for the name of a volume.
pub(super) fn as_bind(path: &str) -> String {
    if path == "." || path == ".." || path.starts_with('/') || path.starts_with("../") {
        return path.to_owned();
    }
    format!("./{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_joined_by_their_words() {
        for (base, path, expected) in [
            (".", "a/b.yaml", "a/b.yaml"),
            (".", "./a/../b.yaml", "b.yaml"),
            ("sub", "../x", "x"),
            (".", "../x", "../x"),
            ("..", "../x/./y", "../../x/y"),
            ("sub", "/etc//x", "/etc/x"),
            ("/srv/a", "../../../x", "/x"),
            (".", ".", "."),
            ("a", "..", "."),
        ] {
            assert_eq!(join(base, path), expected, "{base} {path}");
        }
        assert_eq!(parent("a/b.yaml"), "a");
        assert_eq!(parent("b.yaml"), ".");
        assert_eq!(parent("../b.yaml"), "..");
        assert_eq!(parent("/b.yaml"), "/");
    }

    #[test]
    fn a_star_is_one_key() {
        assert!(matches("services.*.ports", &["services", "web", "ports"]));
        assert!(!matches("services.*.ports", &["services", "web"]));
        assert!(!matches("services.*", &["services", "web", "ports"]));
    }
}
