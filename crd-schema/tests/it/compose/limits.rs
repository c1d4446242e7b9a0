//! Compose files from strangers: too large, too deep, too clever, or cut off.

use std::time::{Duration, Instant};

use crd_schema::compose::{Files, load};

use super::{Memory, folder, one, request};

/// A second, as promised. Without optimisation, and with other builds on the machine, some more.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 30 } else { 1 });

/// The first problem's message, and that it took less than the limit.
fn refused(files: &mut dyn Files) -> String {
    let start = Instant::now();
    let problems = load(&request(), files).expect_err("accepted");
    let took = start.elapsed();
    assert!(took < LIMIT, "took {took:?}: {}", problems[0].message);
    println!("{took:?}: {}", problems[0].message);
    for problem in &problems {
        assert!(problem.to_string().len() < 4000, "a message of {} bytes", problem.to_string().len());
    }
    problems[0].message.clone()
}

fn of_one(text: &str) -> String {
    refused(&mut Memory::new(&[("compose.yaml", text)]))
}

#[test]
fn alias_bombs_are_refused() {
    let mut bomb = "x-0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let previous = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("x-{level}: &a{level} [{}]\n", previous.trim_end_matches(", ")));
    }
    assert!(of_one(&bomb).contains("aliases"));
}

#[test]
fn a_hundred_megabytes_are_refused_unread() {
    let text = "a: b\n".repeat(20_000_000);
    assert!(of_one(&text).contains("100000000 bytes"));
}

#[test]
fn deep_nesting_is_refused() {
    for text in ["[".repeat(10_000), "{a: ".repeat(10_000), "- ".repeat(10_000), "services: {a: ".repeat(10_000)] {
        let message = of_one(&text);
        assert!(message.contains("deep") || message.contains("YAML"), "{message}");
    }
    let nested = format!("{}x{}", "${A:-".repeat(10_000), "}".repeat(10_000));
    assert!(of_one(&format!("services: {{web: {{image: '{nested}'}}}}")).contains("nest more than"));
}

#[test]
fn variables_make_no_more_text_than_there_is_room_for() {
    let big = format!("BIG={}", "x".repeat(500_000));
    let text = format!("services: {{web: {{image: x, command: [{}]}}}}", "'$BIG', ".repeat(10_000));
    let mut files = Memory::new(&[("compose.yaml", &text), (".env", &big)]);
    assert!(refused(&mut files).contains("bytes of text"));
    let doubling: String = (1..60).map(|n| format!("A{n}=$A{0}$A{0}\n", n - 1)).collect();
    let doubling = format!("A0=xx\n{doubling}");
    let mut files = Memory::new(&[("compose.yaml", "services: {web: {image: x}}"), (".env", &doubling)]);
    assert!(refused(&mut files).contains("bytes of text"));
}

/// A line is counted once, however many come before it.
#[test]
fn long_files_of_variables_are_read_in_time() {
    for text in ["A=1\n".repeat(250_000), "\n\n\nA=1\n".repeat(140_000), "#\n".repeat(500_000)] {
        let mut files = Memory::new(&[("compose.yaml", "services: {web: {image: x}}"), (".env", &text)]);
        let start = Instant::now();
        drop(load(&request(), &mut files));
        assert!(start.elapsed() < LIMIT / 5, "{:?}", start.elapsed());
    }
}

/// What a few characters stand for is counted before it is made, and over all services together.
#[test]
fn what_short_forms_stand_for_is_bounded_as_a_sum() {
    let ranges = "\"1000-65000\", ".repeat(400);
    let message = of_one(&format!("services: {{web: {{image: x, ports: [{ranges}]}}}}"));
    assert!(message.contains("ranges of ports"), "{message}");
    let each: String = (0..200).map(|n| format!("  s{n}: {{image: x, ports: [\"1000-20000\"]}}\n")).collect();
    assert!(of_one(&format!("services:\n{each}")).contains("ranges of ports"));
    let exposed = "\"1-65535\", ".repeat(400);
    let message = of_one(&format!("services: {{web: {{image: x, expose: [{exposed}]}}}}"));
    assert!(message.contains("ports, and at most"), "{message}");

    // A long text by alias, in a file of variables of every service, in a config of every service, as a variable.
    let long = "x".repeat(500_000);
    let aliases = "*a, ".repeat(40_000);
    let message = of_one(&format!("x-a: &a {long}\nservices: {{web: {{image: x, command: [{aliases}]}}}}"));
    assert!(message.contains("aliases written out"), "{message}");
    let services = |key: &str| -> String { (0..4_000).map(|n| format!("  s{n}: {{image: x, {key}}}\n")).collect() };
    for key in
        ["env_file: [big.env]", "env_file: [{path: big.env, format: raw}]", "label_file: big.env", "environment: [BIG]"]
    {
        let text = format!("services:\n{}", services(key));
        let big = format!("BIG={long}");
        let mut files = Memory::new(&[("compose.yaml", &text), ("big.env", &big), (".env", &big)]);
        let message = refused(&mut files);
        assert!(message.contains("values, with what") || message.contains("200 files"), "{key}: {message}");
    }
    let text = format!("configs: {{c: {{content: {long}}}}}\nservices:\n{}", services("configs: [c]"));
    assert!(of_one(&text).contains("values, with what"));
}

#[test]
fn includes_and_extends_are_bounded() {
    // Each file includes the next one twice: 2^40 files.
    let files: Vec<_> =
        (0..40).map(|n| (format!("f{n}.yaml"), format!("include: [f{0}.yaml, f{0}.yaml]", n + 1))).collect();
    let mut memory = Memory::new(&[("compose.yaml", "include: [f0.yaml]")]);
    memory.files.extend(files);
    let message = refused(&mut memory);
    assert!(message.contains("deep") || message.contains("files"), "{message}");
    let two: Vec<_> =
        (0..15).map(|n| (format!("f{n}.yaml"), format!("include: [f{0}.yaml, f{0}.yaml]", n + 1))).collect();
    let mut memory = Memory::new(&[("compose.yaml", "include: [f0.yaml]"), ("f15.yaml", "services: {}")]);
    memory.files.extend(two);
    assert!(refused(&mut memory).contains("more than 200 files"));

    let chain: String = (0..10_000).map(|n| format!("  s{n}: {{extends: s{}}}\n", n + 1)).collect();
    assert!(of_one(&format!("services:\n{chain}  s10000: {{image: x}}\n")).contains("in a row"));
    let wide: String = (0..4_000).map(|n| format!("  s{n}: {{extends: base}}\n")).collect();
    let labels: String = (0..10_000).map(|n| format!("l{n}: x, ")).collect();
    let text = format!("services:\n  base: {{image: x, labels: {{{labels}}}}}\n{wide}");
    assert!(of_one(&text).contains("values, with what `extends` copies"));
    let base = format!("services:\n  base: {{image: x, labels: {{{labels}}}}}\n");
    let wide = wide.replace("extends: base", "extends: {file: base.yaml, service: base}");
    let mut memory = Memory::new(&[("compose.yaml", &format!("services:\n{wide}")), ("base.yaml", &base)]);
    assert!(refused(&mut memory).contains("values, with what `extends` copies"));
}

#[test]
fn many_documents_and_many_problems_are_told_in_part() {
    let labels: String = (0..20_000).map(|n| format!("l{n}: x, ")).collect();
    let first = format!("services: {{web: {{image: x, labels: {{{labels}}}}}}}\n");
    assert!(of_one(&format!("{first}{}", "---\n{x-a: b}\n".repeat(50_000))).contains("more than 100 documents"));
    of_one(&format!("{first}{}", "---\n{x-a: b}\n".repeat(98) + "---\nservices: {web: {imgae: x}}\n"));
    of_one(&(0..20_000).map(|n| format!("key{n}: 1\n")).collect::<String>().chars().take(400_000).collect::<String>());
    for service in ["imgae: $A", "image: x, depends_on: [no-such-service]", "image: x, networks: [nobody]", "scale: x"]
    {
        let services: String = (0..5_000).map(|n| format!("  s{n}: {{{service}}}\n")).collect();
        of_one(&format!("services:\n{services}"));
    }
}

#[test]
fn many_services_are_read_in_time() {
    let many: String = (0..3_000)
        .map(|n| {
            format!("  s{n}: {{image: x, depends_on: [s{}], labels: [a=b], ports: [\"80\"]}}\n", (n + 1).min(2_999))
        })
        .collect();
    let text = format!(
        "services:\n{}",
        many.replace("depends_on: [s2999], labels: [a=b], ports: [\"80\"]}\n", "labels: [a=b]}\n")
    );
    let start = Instant::now();
    let loaded = one(&text);
    println!("{:?}", start.elapsed());
    assert!(start.elapsed() < LIMIT);
    assert_eq!(loaded.unwrap().objects.len(), 3_001);
}

fn corpus() -> Vec<Vec<u8>> {
    let texts = std::fs::read_dir(folder("corpus")).unwrap().map(|entry| entry.unwrap().path().join("compose.yaml"));
    texts.filter_map(|path| std::fs::read(path).ok()).collect()
}

/// Files of the corpus, each with some bytes changed, cut out, repeated or taken from another. `FUZZ=n` goes on for n
/// seconds.
#[test]
fn what_chance_makes_of_the_corpus_never_panics() {
    let time = std::env::var("FUZZ").map_or(Duration::ZERO, |n| Duration::from_secs(n.parse().unwrap()));
    let corpus = corpus();
    let (start, mut inputs, mut valid, mut state) = (Instant::now(), 0_u64, 0_u64, 0x2545_f491_4f6c_dd1d_u64);
    let mut below = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(end.max(1)).unwrap()).unwrap()
    };
    while inputs < 1_000 || start.elapsed() < time {
        let mut text = corpus[below(corpus.len())].clone();
        for _ in 0..=below(4) {
            let (at, other) = (below(text.len()), &corpus[below(corpus.len())]);
            let end = (at + below(40)).min(text.len());
            match below(4) {
                0 => drop(text.splice(at..end, [])),
                1 => text.insert(at, b"\0\t\n :-[]{}&*!|>'\"%@`#,?$~<=xX9"[below(30)]),
                2 => {
                    let again = text[at..end].to_vec();
                    text.splice(at..at, again);
                }
                _ => {
                    let from = below(other.len());
                    text.splice(at..end, other[from..(from + below(60)).min(other.len())].iter().copied());
                }
            }
        }
        match load(&request(), &mut Bytes(text, below(8) == 0)) {
            Ok(_) => valid += 1,
            Err(problems) => drop(problems.iter().map(ToString::to_string).collect::<Vec<_>>()),
        }
        inputs += 1;
    }
    println!("{inputs} inputs, {valid} of them valid, in {:?}", start.elapsed());
    assert!(valid > 0, "nothing but rubbish tests nothing");
}

#[test]
fn a_file_cut_off_or_changed_anywhere_never_panics() {
    let mut read = 0;
    for text in corpus() {
        for at in (0..text.len()).step_by(7) {
            let mut changed = text.clone();
            changed[at] = b"\0\t\n :-[]{}&*!|>'\"%@`#,?$~<=xX9"[at % 30];
            for bytes in [&text[..at], &changed] {
                let mut files = Bytes(bytes.to_vec(), at % 3 == 0);
                if let Err(problems) = load(&request(), &mut files) {
                    drop(problems.iter().map(ToString::to_string).collect::<Vec<_>>());
                }
                read += 1;
            }
        }
    }
    assert!(read > 2_000, "{read}");
}

/// The same bytes under every name, and, if asked for, in every file of variables.
struct Bytes(Vec<u8>, bool);

impl Files for Bytes {
    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let variables = path.ends_with("env") || path.ends_with("labels");
        let bytes =
            if variables && !self.1 { b"TAG=1\nPORT=8080\nSET=x\nFLAG=true\n".to_vec() } else { self.0.clone() };
        Ok((!path.contains("none")).then_some(bytes))
    }
}
