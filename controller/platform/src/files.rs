//! A file of the state directory: read so that nothing in it is lost, written whole or not at all.

use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path as Place, Segment};

/// What a file that cannot be read as it is is kept as, beside its name.
pub const UNREADABLE: &str = "unreadable";
/// Nothing that is kept is longer.
const MAX_BYTES: u64 = 64 << 20;
/// So many places are told by name.
const NAMED: usize = 8;
/// So many places may another version have written differently; with more it is another kind of file.
const MAX_DROPPED: usize = 256;

/// What a file holds.
pub struct LoadedFile<T> {
    /// That, or the default where there is no file.
    pub value: T,
    /// What of it could not be read, for people.
    pub told: Option<String>,
}

/// Reads the JSON of a file that holds `what`. Words and fields that only another version knows are left out, and the rest is
/// taken; the whole of it is kept beside, and told. With `keep` false nothing is written: another process keeps the file.
pub fn read<T: DeserializeOwned + Default>(path: &Path, what: &str, keep: bool) -> LoadedFile<T> {
    let text = match bytes(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return LoadedFile { value: T::default(), told: None },
        Err(error) => return set_aside(path, what, keep, T::default(), &format!("nothing of it counts: {error}")),
    };
    let taken = whole(&text).or_else(|_| salvage(&text));
    match taken {
        Ok((value, without)) if without.is_empty() => LoadedFile { value, told: None },
        Ok((value, without)) => {
            let named = without.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = without.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let why = format!("another version wrote it, and this one goes on without {named}{more}");
            set_aside(path, what, keep, value, &why)
        }
        Err(error) => set_aside(path, what, keep, T::default(), &format!("it is begun anew: {error}")),
    }
}

/// Reads the JSON of a file that nothing depends on: what this version does not know of it is left out, and not told.
pub fn read_dispensable<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let text = bytes(path).ok()?;
    whole(&text).or_else(|_| salvage(&text)).ok().map(|(value, _)| value)
}

/// Reads the JSON of a file that this process keeps, which holds `what`; see [`read`]. Without a path there is nothing.
pub fn load<T: DeserializeOwned + Default>(path: Option<&Path>, what: &str) -> T {
    path.map_or_else(T::default, |path| read(path, what, true).value)
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it has more than {} MiB", MAX_BYTES >> 20)));
    }
    Ok(bytes)
}

/// What a JSON text holds, and the places of it that this version has no field for.
fn whole<T: DeserializeOwned>(text: &[u8]) -> Result<(T, Vec<String>), String> {
    let mut unknown = Vec::new();
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = serde_ignored::deserialize(&mut json, |place| unknown.push(place.to_string()));
    let value = value.and_then(|value| json.end().map(|()| value)).map_err(|error| error.to_string())?;
    Ok((value, unknown))
}

/// What can be read of a JSON text, without the places of it that cannot; and these.
fn salvage<T: DeserializeOwned>(text: &[u8]) -> Result<(T, Vec<String>), String> {
    let mut value: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let mut without = Vec::new();
    for _ in 0..MAX_DROPPED {
        match serde_path_to_error::deserialize(&value) {
            Ok(read) => return Ok((read, without)),
            Err(error) => {
                let place = error.path().to_string();
                if !take_out(&mut value, error.path()) {
                    return Err(error.into_inner().to_string());
                }
                // What a place lacks without a part of it goes as a whole.
                without.retain(|part: &String| !part.starts_with(&place));
                without.push(place);
            }
        }
    }
    Err(format!("more than {MAX_DROPPED} places of it are not known"))
}

/// Takes the value at a place out of what it is part of; `false` if it is the whole.
fn take_out(value: &mut Value, place: &Place) -> bool {
    let mut steps: Vec<&Segment> =
        place.iter().filter(|step| matches!(step, Segment::Seq { .. } | Segment::Map { .. })).collect();
    let Some(last) = steps.pop() else { return false };
    let mut at = value;
    for step in steps {
        let next = match step {
            Segment::Seq { index } => at.get_mut(*index),
            Segment::Map { key } => at.get_mut(key),
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        let Some(next) = next else { return false };
        at = next;
    }
    match (last, at) {
        (Segment::Seq { index }, Value::Array(all)) if *index < all.len() => {
            all.remove(*index);
            true
        }
        (Segment::Map { key }, Value::Object(all)) => all.remove(key).is_some(),
        _ => false,
    }
}

/// Keeps a copy of a file, which is written over sooner or later: a newer version may have written it, and what this one does
/// not know is in it.
fn set_aside<T>(path: &Path, what: &str, keep: bool, value: T, why: &str) -> LoadedFile<T> {
    if !keep {
        let told = format!("{what} cannot be read as a whole ({why}): {}", path.display());
        tracing::warn!("{told}");
        return LoadedFile { value, told: Some(told) };
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{UNREADABLE}"));
    let kept = match std::fs::copy(path, &beside) {
        Ok(_) => format!("the file is kept as {}", Path::new(&beside).display()),
        Err(error) => format!("the file could not be kept as {}: {error}", Path::new(&beside).display()),
    };
    let told = format!("{what} cannot be read as a whole ({why}); {kept}");
    tracing::error!("{told}");
    LoadedFile { value, told: Some(told) }
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Its owner alone: 0600.
    Private,
    /// All users of the host: 0644.
    Public,
}

/// Replaces a private file, and makes its directory if there is none; with `lasting`, it outlives a crash of the machine.
pub fn replace(path: &Path, text: &[u8], lasting: bool) -> io::Result<()> {
    std::fs::create_dir_all(parent(path))?;
    replace_with_mode(path, text, Mode::Private, lasting)
}

/// Replaces a file whole or not at all, in a directory that is there. A link is replaced, not followed.
pub fn replace_with_mode(path: &Path, text: &[u8], mode: Mode, lasting: bool) -> io::Result<()> {
    // Mode 0600 is tempfile's own.
    let mut file = tempfile::NamedTempFile::new_in(parent(path))?;
    file.write_all(text)?;
    if mode == Mode::Public {
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    }
    if lasting {
        file.as_file().sync_data()?;
    }
    file.persist(path)?;
    Ok(())
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    struct Whole {
        #[serde(default)]
        paused: bool,
        #[serde(default)]
        parts: Vec<Part>,
        #[serde(default)]
        by_name: BTreeMap<String, Word>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Part {
        word: Word,
        number: u32,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        Known,
        Other,
    }

    #[test]
    fn a_word_of_another_version_costs_its_own_place_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.json");
        let text = r#"{"paused": true, "parts": [{"word": "known", "number": 1}, {"word": "newer", "number": 2}, {"word": "known", "number": 3}],
            "by_name": {"a": "newer", "b": "other"}}"#;
        std::fs::write(&path, text).expect("written");
        let found = read::<Whole>(&path, "the example", true);
        let numbers: Vec<_> = found.value.parts.iter().map(|part| part.number).collect();
        assert_eq!((found.value.paused, numbers), (true, vec![1, 3]));
        assert_eq!(found.value.by_name.keys().collect::<Vec<_>>(), ["b"]);
        let told = found.told.expect("it is told");
        assert!(told.contains("without by_name.a, parts[1]") && told.contains("a.json.unreadable"), "{told}");
        assert_eq!(std::fs::read_to_string(dir.path().join("a.json.unreadable")).expect("kept"), text);
        // Until it is written over.
        assert!(read::<Whole>(&path, "the example", true).told.is_some());
    }

    #[test]
    fn a_field_of_another_version_is_told_and_kept_beside() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.json");
        let text = r#"{"paused": true, "later": {"a": 1}, "parts": [{"word": "known", "number": 1, "weight": 2}]}"#;
        std::fs::write(&path, text).expect("written");
        let found = read::<Whole>(&path, "the example", true);
        assert!(found.value.paused && found.value.parts.len() == 1);
        let told = found.told.expect("it is told");
        assert!(told.contains("without later, parts.0.weight)"), "{told}");
        assert_eq!(std::fs::read_to_string(dir.path().join("a.json.unreadable")).expect("kept"), text);
        // What nothing depends on is read without a word.
        let dispensable = dir.path().join("b.json");
        std::fs::write(&dispensable, text).expect("written");
        assert!(read_dispensable::<Whole>(&dispensable).expect("read").paused);
        assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 3);
        let many: String = (0..20).map(|number| format!(r#", "later{number}": 1"#)).collect();
        std::fs::write(&path, format!(r#"{{"paused": true{many}}}"#)).expect("written");
        let told = read::<Whole>(&path, "the example", true).told.expect("it is told");
        assert!(told.contains("later7 and 12 more)"), "{told}");
    }

    #[test]
    fn what_is_no_such_file_at_all_is_begun_anew_and_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.json");
        for text in ["", "{", "\"a\"", "{\"paused\": true} x"] {
            std::fs::write(&path, text).expect("written");
            let found = read::<Whole>(&path, "the example", true);
            assert_eq!(found.value, Whole::default(), "{text}");
            assert!(found.told.is_some_and(|told| told.contains("begun anew")), "{text}");
            assert_eq!(std::fs::read_to_string(dir.path().join("a.json.unreadable")).expect("kept"), text);
        }
    }

    #[test]
    fn another_process_s_file_stays_where_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.json");
        std::fs::write(&path, r#"{"paused": true, "parts": 7}"#).expect("written");
        let found = read::<Whole>(&path, "the example", false);
        assert!(found.value.paused && found.told.is_some() && path.exists());
    }
}
