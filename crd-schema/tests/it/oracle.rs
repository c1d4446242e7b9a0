//! A second opinion: another YAML library reads the same values, where the dialects agree.

use crd_schema::ServiceSpec;

use crate::forms::{cases, spec};

/// Where they do not agree by design: our reader takes no value as an error but for the forms that know it, reads
/// numbers as written, and resolves `<<`.
const DIALECT: &[&str] = &[];

#[test]
fn another_yaml_library_reads_the_same() {
    let mut compared = 0;
    for (written, ..) in cases() {
        if DIALECT.contains(&written) {
            continue;
        }
        let text = format!("image: x\n{written}\n");
        let theirs: ServiceSpec = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{written}: {error}"));
        assert_eq!(theirs, spec(written), "{written}");
        compared += 1;
    }
    assert!(compared > 90, "{compared}");
}
