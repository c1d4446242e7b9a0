//! Secrets are hidden in what a container wrote, also where it wrote them in another form: base64, hexadecimal,
//! percent-encoded, in other case, as a JSON string.
//!
//! All needles are sorted once; at each place of the text one binary search finds the longest that begins there. So the
//! cost grows with the length of the text and the logarithm of the number of secrets, whatever both contain.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use crd_schema::{Environment, ServiceSpec};

use crate::hex;

/// Shorter values are no secrets, and would be found everywhere.
const MIN_LENGTH: usize = 4;
/// Shorter values are hidden only as they are: their other forms would be found everywhere.
const MIN_ENCODED: usize = 8;
/// More bytes of secrets are not looked for: then nothing is shown.
const MAX_BYTES: usize = 4 << 20;
/// A longer one is looked for in pieces of this length, so that no comparison is longer.
const MAX_NEEDLE: usize = 512;
/// What stands for a secret.
const HIDDEN: &str = "***";

/// So many of the last lines are remembered.
const MAX_LINES: usize = 20;
/// So much of each line is remembered (characters).
const MAX_LINE: usize = 300;

/// What a container of `spec` wrote, without the values of its environment, of `more`, and of its files; cut only then: half
/// a secret would not be found. Blank lines and what would move a terminal's cursor are left out.
pub(crate) fn without_secrets<'a>(
    output: &[String],
    spec: &'a ServiceSpec,
    more: impl IntoIterator<Item = &'a Environment>,
) -> Vec<String> {
    let values = spec.environment.iter().chain(more.into_iter().flat_map(|more| more.iter())).map(|(_, value)| value);
    let files = spec.files.iter().flat_map(|file| file.content.lines());
    // One of several lines may come as several, or as one.
    let lines = values.flat_map(|value| value.lines()).chain(files);
    let secrets: Vec<String> = lines.map(|line| plain(line).trim().to_owned()).collect();
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    let said: Vec<String> = output.iter().map(|line| plain(line)).filter(|line| !line.trim().is_empty()).collect();
    let shown = redact(&said, &secrets);
    let surplus = shown.len().saturating_sub(MAX_LINES);
    shown.into_iter().skip(surplus).map(|line| line.chars().take(MAX_LINE).collect()).collect()
}

/// A line without what would move a terminal's cursor or change its colour, and without what has no width: a secret with such a
/// thing in its middle would not be found.
fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' && chars.next_if_eq(&'[').is_some() {
            // Up to the letter that ends the sequence (ECMA-48, 5.4).
            while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            continue;
        }
        let has_no_width = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}');
        if c == '\t' || !(c.is_control() || has_no_width) {
            out.push(c);
        }
    }
    out
}

/// Some lines without secrets. A secret that is spread over several lines, as base64 and hexadecimal are wrapped, is hidden
/// in all of them. With more than 4 MiB of secrets, one line that says that the output is not shown.
fn redact(lines: &[String], secrets: &[&str]) -> Vec<String> {
    let secrets: Vec<&[u8]> = secrets.iter().map(|one| one.as_bytes()).filter(|one| one.len() >= MIN_LENGTH).collect();
    if secrets.iter().map(|one| one.len()).sum::<usize>() > MAX_BYTES {
        return vec![
            "(its output is not shown: there are too many values that would have to be hidden in it)".to_owned(),
        ];
    }
    let text: Vec<u8> = lines.iter().flat_map(|line| line.bytes()).collect();
    let mut hidden = vec![false; text.len()];
    let needles = Needles::exact(&secrets);
    mark(&mut hidden, needles.found(&text));
    let long: Vec<&[u8]> = secrets.iter().copied().filter(|one| one.len() >= MIN_ENCODED).collect();
    if !long.is_empty() {
        let folded = Needles::folded(&long);
        mark(&mut hidden, folded.found(&text.to_ascii_lowercase()));
        let (decoded, places) = percent_decoded(&text);
        mark(&mut hidden, folded.found(&decoded).map(|(from, to)| (place(&places, from), place(&places, to))));
        let standard: Vec<u8> = text.iter().map(|byte| standard(*byte)).collect();
        let encoded = Needles::base64(&long);
        mark(&mut hidden, encoded.found(&standard).map(|(from, to)| grown(&standard, from, to)));
    }
    shown(lines, &hidden)
}

/// The lines, with `***` for each run of hidden bytes.
fn shown(lines: &[String], hidden: &[bool]) -> Vec<String> {
    let mut hidden = hidden.iter().copied();
    let one = |line: &String| {
        let (mut out, mut before) = (String::new(), false);
        for c in line.chars() {
            // All bytes of a character are taken; one that is hidden hides it.
            let here = (0..c.len_utf8()).fold(false, |any, _| hidden.next().unwrap_or(true) | any);
            match (here, before) {
                (true, false) => out.push_str(HIDDEN),
                (false, _) => out.push(c),
                (true, true) => {}
            }
            before = here;
        }
        out
    };
    lines.iter().map(one).collect()
}

fn mark(hidden: &mut [bool], ranges: impl Iterator<Item = (usize, usize)>) {
    // They come in order of their beginnings: each byte is marked once, however many of them overlap.
    let mut done = 0;
    for (from, to) in ranges {
        if let Some(part) = hidden.get_mut(from.max(done)..to) {
            part.fill(true);
        }
        done = done.max(to);
    }
}

/// What is looked for, sorted.
struct Needles {
    sorted: Vec<Vec<u8>>,
    /// For each, the longest other one that it begins with.
    within: Vec<Option<usize>>,
}

impl Needles {
    /// The values as they are.
    fn exact(secrets: &[&[u8]]) -> Self {
        Self::new(secrets.iter().map(|one| one.to_vec()).collect())
    }

    /// For a text in lower case: the values, as JSON writes them, as forms have their spaces, and in hexadecimal.
    fn folded(secrets: &[&[u8]]) -> Self {
        let mut all = Vec::new();
        for secret in secrets {
            let lower = secret.to_ascii_lowercase();
            all.push(hex::encode(secret).into_bytes());
            if lower.contains(&b' ') {
                all.push(lower.iter().map(|byte| if *byte == b' ' { b'+' } else { *byte }).collect());
            }
            let json = String::from_utf8(secret.to_vec()).ok().and_then(|text| serde_json::to_string(&text).ok());
            if let Some(json) = json.as_deref().and_then(|text| text.strip_prefix('"')?.strip_suffix('"')) {
                all.push(json.to_ascii_lowercase().into_bytes());
            }
            all.push(lower);
        }
        Self::new(all)
    }

    /// For a text in base64's standard letters: what of each value is the same whatever stands before and after it, with
    /// its first byte as the first, the second and the third of a group of three.
    fn base64(secrets: &[&[u8]]) -> Self {
        let mut all = Vec::new();
        for secret in secrets {
            for before in 0..3 {
                let mut whole = vec![0; before];
                whole.extend_from_slice(secret);
                let letters = STANDARD_NO_PAD.encode(&whole).into_bytes();
                // Letters of six bits each: those that hold bits of what is before, or of what is after, differ.
                let (from, to) = ((before * 8).div_ceil(6), whole.len() * 8 / 6);
                all.extend(letters.get(from..to).map(<[u8]>::to_vec));
            }
        }
        Self::new(all)
    }

    fn new(whole: Vec<Vec<u8>>) -> Self {
        let mut all: Vec<Vec<u8>> = whole.into_iter().flat_map(pieces).collect();
        all.sort();
        all.dedup();
        let mut within: Vec<Option<usize>> = Vec::with_capacity(all.len());
        for nth in 0..all.len() {
            // The one before begins like this one, or one that it begins with does: those are between in the order.
            let mut candidate = nth.checked_sub(1);
            while let Some(one) = candidate {
                let is = all.get(nth).zip(all.get(one)).is_some_and(|(this, one)| this.starts_with(one));
                if is {
                    break;
                }
                candidate = within.get(one).copied().flatten();
            }
            within.push(candidate);
        }
        Self { sorted: all, within }
    }

    /// Where they are: of those that begin at the same place the longest, in order.
    fn found(&self, text: &[u8]) -> impl Iterator<Item = (usize, usize)> {
        (0..text.len()).filter_map(|from| Some((from, from + self.longest(text.get(from..)?)?)))
    }

    /// The length of the longest that a text begins with.
    fn longest(&self, text: &[u8]) -> Option<usize> {
        let mut candidate = self.sorted.partition_point(|one| one.as_slice() <= text).checked_sub(1);
        let nearest = self.sorted.get(candidate?)?;
        // Any that the text begins with is one that the nearest begins with.
        let common = common(nearest, text);
        while let Some(one) = candidate {
            let length = self.sorted.get(one)?.len();
            if length <= common {
                return Some(length);
            }
            candidate = self.within.get(one).copied().flatten();
        }
        None
    }
}

/// A needle, or pieces of equal length that cover it: the last one overlaps the one before.
fn pieces(whole: Vec<u8>) -> Vec<Vec<u8>> {
    match whole.len().checked_sub(MAX_NEEDLE) {
        None | Some(0) => vec![whole],
        Some(last) => {
            let cut = (0..last).step_by(MAX_NEEDLE).chain([last]);
            cut.filter_map(|from| whole.get(from..from + MAX_NEEDLE)).map(<[u8]>::to_vec).collect()
        }
    }
}

/// How many bytes two texts begin alike with.
fn common(a: &[u8], b: &[u8]) -> usize {
    let (mut alike, mut most) = (0, a.len().min(b.len()));
    while alike < most {
        let middle = (alike + most).div_ceil(2);
        if a.get(alike..middle) == b.get(alike..middle) {
            alike = middle;
        } else {
            most = middle - 1;
        }
    }
    alike
}

/// The text in lower case, its percent-encoded bytes decoded, and where each byte of it begins; with the end as the last.
fn percent_decoded(text: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut decoded, mut places, mut at) = (Vec::new(), Vec::new(), 0);
    while let Some(byte) = text.get(at) {
        places.push(at);
        if let (b'%', Some(high), Some(low)) = (byte, digit(at + 1), digit(at + 2)) {
            decoded.extend(u8::try_from(high * 16 + low));
            at += 3;
        } else {
            decoded.push(*byte);
            at += 1;
        }
    }
    places.push(text.len());
    decoded.make_ascii_lowercase();
    (decoded, places)
}

fn place(places: &[usize], at: usize) -> usize {
    places.get(at).copied().unwrap_or_default()
}

/// The letter of base64's standard alphabet for one of its URL-safe one.
fn standard(byte: u8) -> u8 {
    match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    }
}

/// A range with the letters beside it that hold bits of the secret, too, and with its padding.
fn grown(text: &[u8], from: usize, to: usize) -> (usize, usize) {
    let letter =
        |at: usize| text.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    let from = from.checked_sub(1).filter(|at| letter(*at)).unwrap_or(from);
    let to = if letter(to) { to + 1 } else { to };
    let padding = text.get(to..).into_iter().flatten().take(2).take_while(|byte| **byte == b'=').count();
    (from, to + padding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};

    const SECRET: &str = "Hunter?>22~é";

    fn one(line: &str, secrets: &[&str]) -> String {
        redact(&[line.to_owned()], secrets).concat()
    }

    #[test]
    fn each_form_of_a_secret_is_hidden() {
        let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
        let percent: String = SECRET.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for (said, left) in [
            (format!("it is {SECRET}."), "it is ***."),
            (format!("it is {}.", SECRET.to_ascii_uppercase()), "it is ***."),
            (format!("it is {}.", SECRET.to_ascii_lowercase()), "it is ***."),
            (format!("x={hex};"), "x=***;"),
            (format!("x={};", hex.to_uppercase()), "x=***;"),
            (format!("x={percent};"), "x=***;"),
            (format!("x={};", percent.to_lowercase()), "x=***;"),
            ("x=Hunter%3f%3E22~%C3%A9&y".to_owned(), "x=***&y"),
            (format!("100% of {SECRET}%"), "100% of ***%"),
            (format!("[{SECRET}{SECRET}]"), "[***]"),
            ("nothing of it: Hunter?>22".to_owned(), "nothing of it: Hunter?>22"),
            ("%4".to_owned(), "%4"),
        ] {
            assert_eq!(one(&said, &[SECRET]), left, "{said}");
        }
        assert_eq!(one(r#"{"a":"say \"hello\" to"}"#, &[r#"say "hello" to"#]), r#"{"a":"***"}"#);
        assert_eq!(one("q=two+words+of+it", &["two words of it"]), "q=***");
    }

    /// At every place of a group of three, with whatever before and after it, in both alphabets, with padding and without.
    #[test]
    fn base64_is_hidden_wherever_the_secret_stands_in_it() {
        for secret in [SECRET, "12345678", "a longer secret, of more than fifty-seven bytes, that is wrapped"] {
            for (before, after) in [("", ""), ("u", ""), ("us", ":"), ("user", ":x"), ("", ":xyz"), ("user:", "")] {
                let whole = format!("{before}{secret}{after}");
                for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
                    let encoded = engine.encode(&whole);
                    let left = one(&format!("Basic {encoded}, ok"), &[secret]);
                    assert!(left.starts_with("Basic ") && left.contains("***") && left.ends_with(", ok"), "{left}");
                    // No four letters of it are left beside those of what is before and after.
                    let rest = left.trim_start_matches("Basic ").trim_end_matches(", ok").replace("***", "");
                    assert!(rest.len() <= (before.len() + after.len()) * 8 / 6 + 2, "{whole}: {left}");
                }
            }
        }
    }

    #[test]
    fn a_form_that_is_wrapped_is_hidden_in_all_its_lines() {
        let secret = "a longer secret, of more than fifty-seven bytes, that is wrapped by base64";
        for encoded in [STANDARD.encode(secret), secret.bytes().map(|byte| format!("{byte:02x}")).collect()] {
            let (first, second) = encoded.split_at(60);
            let lines = redact(&[format!("key: {first}"), format!("{second} end")], &[secret]);
            assert_eq!(lines, ["key: ***", "*** end"]);
        }
    }

    #[test]
    fn a_long_value_is_hidden_to_its_end() {
        let key: String = (0..3000_u32).map(|nth| char::from(b'a' + (nth * nth % 23) as u8)).collect();
        let encoded = STANDARD.encode(&key);
        for said in [&key, &encoded, &key.to_uppercase()] {
            assert_eq!(one(&format!("<{said}>"), &[&key]), "<***>");
        }
        assert_eq!(common(b"abcdef", b"abcxef"), 3);
        assert_eq!([common(b"", b"a"), common(b"a", b"a"), common(b"ab", b"a"), common(b"b", b"a")], [0, 1, 1, 0]);
    }

    #[test]
    fn what_has_no_width_hides_no_secret() {
        let environment = Environment::from_iter([("KEY".to_owned(), "hunter2hunter2".to_owned())]);
        let spec = ServiceSpec { environment, ..ServiceSpec::default() };
        let said = |lines: &[&str]| {
            without_secrets(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>(), &spec, None)
        };
        assert_eq!(said(&["a hunter\u{1b}[31m2hunter2\u{1b}[0m b", "hunter2\u{200b}hunter2"]), ["a *** b", "***"]);
        // What began before the lines that are shown is hidden, too.
        let wrapped: Vec<&str> = ["hunter2", "hunter2"].into_iter().chain(std::iter::repeat_n("x", 19)).collect();
        let shown = said(&wrapped);
        assert_eq!((shown.len(), shown[0].as_str(), shown[1].as_str()), (MAX_LINES, "***", "x"));
    }

    #[test]
    fn short_values_are_hidden_as_they_are_only() {
        assert_eq!(one("abcd ABCD YWJjZA 61626364 abc", &["abcd", "abc"]), "*** ABCD YWJjZA 61626364 abc");
    }

    #[test]
    fn one_within_another_is_hidden_with_it() {
        let secrets = ["pass", "password", "word-of-it", "password-of-it-all"];
        assert_eq!(one("password-of-it-all password-of-it passwor passwo", &secrets), "*** *** ***wor ***wo");
        assert_eq!(one("ünicode pässword über", &["pässword"]), "ünicode *** über");
    }

    /// 20,000 secrets that all begin alike, and each of which begins like the next; and a text that nearly fits everywhere.
    #[test]
    fn the_cost_is_bounded() {
        let nested: Vec<String> = (8..1500).map(|length| "a".repeat(length)).collect();
        let alike: Vec<String> = (0..20_000).map(|nth| format!("postgres://user:{nth:05}@db/shop")).collect();
        let secrets: Vec<&str> = nested.iter().chain(&alike).map(String::as_str).collect();
        let lines: Vec<String> = (0..20).map(|_| "aaaaaaapostgres://user:%62".repeat(126)).collect();
        let began = tokio::time::Instant::now();
        assert!(redact(&lines, &secrets) == lines);
        let hidden = redact(&["a".repeat(64 << 10)], &secrets);
        let took = began.elapsed();
        eprintln!("{} secrets, twice 64 KiB of text: {took:?}", secrets.len());
        assert_eq!(hidden, ["***"]);
        assert!(took < std::time::Duration::from_secs(20), "{took:?}");
        // One that is longer than the text, and nearly fits at each place.
        let long = format!("{}b", "a".repeat(100 << 10));
        let began = tokio::time::Instant::now();
        drop(redact(&["a".repeat(64 << 10)], &[&long]));
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
        let large = "x".repeat(MAX_BYTES + 1);
        assert!(one("x", &[&large]).contains("not shown"));
    }
}
