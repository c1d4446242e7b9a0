//! Text from strangers: too large, too deep, too clever, or cut off.

use std::time::{Duration, Instant};

use crd_schema::{Diagnostic, MAX_FILE_BYTES, parse, parse_bytes};

/// A second, as promised. Without optimisation, and with other builds on the machine, some more.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 8 } else { 1 });

/// The first problem's message, and that it took less than the limit.
fn refused(text: &str) -> String {
    let start = Instant::now();
    let problems = parse("bad.yaml", text).expect_err("accepted");
    let took = start.elapsed();
    assert!(took < LIMIT, "took {took:?}: {}", problems[0].message);
    println!("{took:?}: {}", problems[0].message);
    for problem in &problems {
        assert!(problem.to_string().len() < 4000, "a message of {} bytes", problem.to_string().len());
    }
    problems[0].message.clone()
}

fn render(problems: &[Diagnostic]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let previous = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", previous.trim_end_matches(", ")));
    }
    assert!(refused(&bomb).contains("aliases"), "{}", refused(&bomb));
}

#[test]
fn nested_anchors_cost_no_more_than_their_size() {
    let open: String = (0..60).map(|level| format!("&a{level} [")).collect();
    let text = format!("a: {open}{}{}", "x, ".repeat(40_000), "]".repeat(60));
    // 40,000 values once, not once for each anchor around them.
    assert!(refused(&text).contains("values"));
}

#[test]
fn deep_nesting_is_refused() {
    for text in [
        "[".repeat(10_000),
        "{a: ".repeat(10_000),
        "- ".repeat(10_000),
        format!("a:\n{}", "[".repeat(500_000)),
        "? ".repeat(10_000),
    ] {
        let message = refused(&text);
        assert!(message.contains("deep") || message.contains("YAML"), "{message}");
    }
    let steps: String = (0..10_000).map(|depth| format!("{}a:\n", " ".repeat(depth % 300))).collect();
    refused(&steps[..MAX_FILE_BYTES.min(steps.len())]);
}

#[test]
fn a_hundred_megabytes_are_refused_unread() {
    let text = "a: b\n".repeat(20_000_000);
    assert!(refused(&text).contains("100000000 bytes"));
    let start = Instant::now();
    assert!(parse_bytes("big.yaml", text.as_bytes()).is_err());
    assert!(start.elapsed() < LIMIT);
}

#[test]
fn a_megabyte_of_problems_is_told_in_part() {
    let keys: String = (0..60_000).map(|n| format!("  key{n}: 1\n")).collect();
    let head = "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {project: a, name: b}\nspec:\n  image: x\n";
    refused(&format!("{head}{keys}"));
    refused(&"--- {a: b}\n".repeat(90_000));
    refused(&"a: 1\n".repeat(200_000));
    refused(&format!("{head}{}", "  \"\n".repeat(200_000)));
    refused(&format!("{head}  environment: {{A: '{}", "x\n".repeat(400_000)));
    refused(&format!("{head}  {}: 1\n", "k".repeat(900)));
    refused(&format!("{head}  user: {}\n", "[x, ".repeat(3) + &"y".repeat(900_000) + "]]]"));
}

#[test]
fn long_words_and_wide_ranges_stay_small() {
    let head = "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {project: a, name: b}\nspec:\n  image: x\n";
    let long = "y".repeat(900_000);
    for key in [
        "drain_timeout",
        "shm_size",
        "restart",
        "ports: [80]\n  cpus",
        "rollout: {order: x}\n  network_mode",
        long.as_str(),
    ] {
        refused(&format!("{head}  {key}: {long}\n").chars().take(1_000_000).collect::<String>());
    }
    assert!(refused(&format!("{head}  ports: [{}]\n", "1-65535, ".repeat(10_000))).contains("ports"));
}

#[test]
fn what_is_no_text_is_refused() {
    assert!(refused("image: \0").contains("NUL"));
    let problem = &parse_bytes("bad.yaml", b"a: b\nc: \xff\n").unwrap_err()[0];
    assert!(problem.message.contains("UTF-8"));
    assert_eq!((problem.line, problem.column), (2, 4));
}

#[test]
fn a_file_cut_off_anywhere_never_panics() {
    let whole: String = crate::forms::cases().iter().enumerate().map(|(n, (written, ..))| {
        let body: String = written.lines().map(|line| format!("  {line}\n")).collect();
        format!("---\napiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: web{n}}}\nspec:\n  image: x\n{body}")
    }).collect();
    assert!(parse("whole.yaml", &whole).is_ok());
    // The last two thousand bytes of every document's prefix: each cut is read with the documents before it left out.
    let start = Instant::now();
    let mut cuts = 0;
    for document in whole.split_inclusive("---\n") {
        for end in 0..=document.len() {
            if let Err(problems) = parse_bytes("cut.yaml", &document.as_bytes()[..end]) {
                drop(render(&problems));
            }
            cuts += 1;
        }
    }
    println!("{cuts} cuts in {:?}", start.elapsed());
}

#[test]
fn a_byte_changed_anywhere_never_panics() {
    let text = "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {project: shop, name: web}\nspec:\n  image: \"x\"\n  ports: ['8080:80']\n  environment:\n    - A=b\n  labels: &l {a: b}\n  annotations: *l\n";
    for at in 0..text.len() {
        for byte in *b"\0\t\n :-[]{}&*!|>'\"%@`#,?\x7f\xff\xc3\xe9x9" {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = byte;
            if let Err(problems) = parse_bytes("changed.yaml", &bytes) {
                drop(render(&problems));
            }
        }
    }
}

/// What a few characters stand for is counted over all documents of a file.
#[test]
fn what_short_forms_stand_for_is_bounded_as_a_sum() {
    let document = |n: usize, spec: &str| {
        format!(
            "---\napiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: a, name: s{n}}}\nspec: {{image: x, {spec}}}\n"
        )
    };
    let ranges = "\"1000-65000\", ".repeat(400);
    assert!(refused(&document(0, &format!("ports: [{ranges}]"))).contains("more than 20000 ports"));
    let many: String = (0..200).map(|n| document(n, "ports: [\"1000-20000\"]")).collect();
    assert!(refused(&many).contains("ranges of ports written out"));
    let long = "x".repeat(500_000);
    let text = document(0, &format!("labels: {{a: &a {long}}}, command: [{}]", "*a, ".repeat(40_000)));
    assert!(refused(&text).contains("aliases written out"));
    let labels = |n: usize| {
        let labels: String = (0..40).map(|label| format!("l{label}: *a, ")).collect();
        document(n, &format!("command: &a \"{}\", labels: {{{labels}}}", "x".repeat(4_000)))
    };
    let many: String = (0..200).map(labels).collect();
    assert!(refused(&many).contains("the file has more than"));
    // As many ports as there may be are read in time, and told apart by their addresses.
    let start = Instant::now();
    let ports: String = (0..19_000).map(|n| format!("\"127.{}.{}.1:80:80\", ", n / 250, n % 250)).collect();
    assert!(parse("ports.yaml", &document(0, &format!("ports: [{ports}]"))).is_ok());
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
}
