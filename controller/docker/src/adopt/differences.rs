//! In what a container differs from what would be made, in words.

use std::collections::BTreeMap;

/// Keys in which a container differs.
#[derive(Debug, Default)]
pub(super) struct Differences(pub(super) Vec<String>);

impl Differences {
    pub(super) fn unless(&mut self, same: bool, what: &str) {
        if !same {
            self.0.push(what.to_owned());
        }
    }

    /// Values that are no secret are shown.
    pub(super) fn word(&mut self, key: &str, is: &str, ought: &str) {
        if is != ought {
            let shown = |text: &str| if text.is_empty() { "nothing".to_owned() } else { format!("`{text}`") };
            self.0.push(format!("{key} ({} instead of {})", shown(is), shown(ought)));
        }
    }

    pub(super) fn number(&mut self, key: &str, is: Option<i64>, ought: Option<i64>) {
        let given = |number: Option<i64>| number.filter(|number| *number != 0);
        let text = |number: Option<i64>| given(number).map_or_else(String::new, |number| number.to_string());
        self.word(key, &text(is), &text(ought));
    }

    pub(super) fn flag(&mut self, key: &str, is: Option<bool>, ought: Option<bool>) {
        self.unless(is.unwrap_or(false) == ought.unwrap_or(false), key);
    }

    pub(super) fn words(&mut self, key: &str, is: Option<&[String]>, ought: Option<&[String]>) {
        self.unless(sorted(is) == sorted(ought), key);
    }

    /// Names of what differs within a key, the first few.
    pub(super) fn named(&mut self, key: &str, mut names: Vec<String>) {
        const SHOWN: usize = 3;
        names.sort();
        let more = names.len().saturating_sub(SHOWN);
        names.truncate(SHOWN);
        if more > 0 {
            names.push(format!("{more} more"));
        }
        if !names.is_empty() {
            self.0.push(format!("{key} ({})", names.join(", ")));
        }
    }
}

pub(super) fn sorted(words: Option<&[String]>) -> Vec<String> {
    let mut words = words.unwrap_or_default().to_vec();
    words.sort();
    words.dedup();
    words
}

/// The names in which two maps differ.
pub(super) fn unlike<V: PartialEq>(is: &BTreeMap<String, V>, ought: &BTreeMap<String, V>) -> Vec<String> {
    let names = is.keys().chain(ought.keys().filter(|name| !is.contains_key(*name)));
    names.filter(|name| is.get(*name) != ought.get(*name)).cloned().collect()
}
