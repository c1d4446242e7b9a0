//! A directory of documents, as anybody with a repository may write it.

use std::path::Path;
use std::sync::OnceLock;

use composed_source::catalog::Catalog;
use composed_source::files::Source;
use fastrand::Rng;

use super::mutate::worse;

/// Words that a few characters of make much, and numbers at the edges.
const WORDS: &[&str] = &[
    "\"1-65535\", ",
    "\"1000-20000:1000-20000/udp\", ",
    "ports: [\"1-65535\", \"1-65535\", \"1-65535\"]\n",
    "expose: [\"1-65535\"]\n",
    "&a ",
    "*a ",
    "[*a, *a, *a, *a, *a, *a, *a, *a]",
    "<<: *a\n",
    "${BIG}",
    "${A:-${A:-${BIG}}}",
    "$BIG$BIG$BIG",
    "    env_file: [big.env, {path: big.env, format: raw}]\n",
    "    environment: [BIG]\n",
    "    extends: {file: base.yaml, service: web}\n",
    "    extends: web\n",
    "include: [base.yaml, compose.yaml]\n",
    "    depends_on: {web: {condition: service_started, restart: true}}\n",
    "    deploy: {replicas: 4294967295}\n",
    "  replicas: 10000\n",
    "    configs: [c]\nconfigs: {c: {content: $BIG}}\n",
    "---\n",
    "-1",
    "18446744073709551616",
    "1e309",
    "9999999999h",
    "99999999999999999gb",
    "!reset ",
    "!override ",
    "\u{feff}",
    "\u{202e}",
];

fn corpus() -> &'static Vec<Vec<u8>> {
    static CORPUS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    CORPUS.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let below = |dir: &str, file: &str| -> Vec<Vec<u8>> {
            let all =
                std::fs::read_dir(root.join(dir)).expect("a directory").map(|entry| entry.expect("an entry").path());
            all.filter_map(|path| std::fs::read(path.join(file)).ok()).collect()
        };
        let mut all = below("../crd-schema/tests/compose/corpus", "compose.yaml");
        all.extend(below("core/tests/golden", "desired.yaml"));
        assert!(all.len() > 60, "{}", all.len());
        all
    })
}

/// One directory, read twice: with nothing before it, and with the first reading before the second.
pub(super) fn play(mut rng: Rng) {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |rng: &mut Rng, name: &str| {
        let text = &corpus()[rng.usize(..corpus().len())];
        let text = worse(rng, text, WORDS);
        std::fs::write(dir.path().join(name), text).expect("a file");
    };
    for name in ["compose.yaml", "base.yaml", "more.yaml", "compose.override.yaml"] {
        if rng.u8(..3) > 0 {
            write(&mut rng, name);
        }
    }
    let big = format!("BIG={}\nTAG=1\n", "y".repeat(1 << rng.u32(..19)));
    let big = if rng.bool() { big.into_bytes() } else { worse(&mut rng, big.as_bytes(), WORDS) };
    for name in [".env", "big.env"] {
        std::fs::write(dir.path().join(name), &big).expect("a file");
    }
    let source = Source::from(dir.path());
    let before = Catalog::new(&source.read(), &Catalog::empty(rng.bool()));
    write(&mut rng, "web.yaml");
    let catalog = Catalog::new(&source.read(), &before);
    for problem in &catalog.problems {
        assert!(problem.len() < 1 << 20, "a problem of {} bytes", problem.len());
    }
}
