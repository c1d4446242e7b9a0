//! Every form of a template.

use super::*;

fn filled(template: &str) -> Result<String, String> {
    let lookup = |name: &str| match name {
        "SET" | "set_2" => Some("value".to_owned()),
        "EMPTY" => Some(String::new()),
        "DOLLAR" => Some("$SET".to_owned()),
        _ => None,
    };
    substitute(template, &lookup, &mut BTreeSet::new(), 1000).map_err(|wrong| wrong.message)
}

/// The forms of compose-spec 12-interpolation, and what `docker compose config` of Compose v5.6.1 makes of them.
#[test]
fn every_form_means_what_it_means_in_compose() {
    for (template, expected) in [
        ("plain", "plain"),
        ("$SET and ${SET}", "value and value"),
        ("${set_2}x", "valuex"),
        ("[$NONE${NONE}]", "[]"),
        ("${NONE:-d} ${NONE-d} ${EMPTY:-d} ${EMPTY-d} ${SET:-d} ${SET-d}", "d d d  value value"),
        ("${NONE:+r}|${NONE+r}|${EMPTY:+r}|${EMPTY+r}|${SET:+r}|${SET+r}", "|||r|r|r"),
        ("${SET:?why} ${SET?why} ${EMPTY?why}", "value value "),
        ("${NONE:-${EMPTY:-${SET}}}", "value"),
        ("${NONE:-a${SET}b}c", "avaluebc"),
        ("${NONE:-{\"a\": {}}}", "{\"a\": {}}"),
        ("${NONE-http://x:80/?a=b-c+d}", "http://x:80/?a=b-c+d"),
        ("$$SET $${SET} $$$SET", "$SET ${SET} $value"),
        ("$DOLLAR", "$SET"),
        ("100$ $1 $. $", "100$ $1 $. $"),
        ("${NONE:-}", ""),
        ("${SET:+${NONE:-x}}", "x"),
        ("é$SET-ü", "évalue-ü"),
    ] {
        assert_eq!(filled(template).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn what_is_no_template_is_refused() {
    for (template, why) in [
        ("${", "`${` has no `}`"),
        ("${}", "not followed by the name"),
        ("${1}", "not followed by the name"),
        ("${SET", "has no `}`"),
        ("${SET!x}", "no operator"),
        ("${SET:x}", "no operator"),
        ("${SET:}", "no operator"),
        ("${NONE:?tell $SET}", "required and not set or empty: tell $SET"),
        ("${NONE?}", "required and not set"),
        ("${EMPTY:?}", "required and not set or empty"),
    ] {
        let said = filled(template).unwrap_err();
        assert!(said.contains(why), "{template}: {said}");
    }
    let deep = format!("{}x{}", "${A:-".repeat(10_000), "}".repeat(10_000));
    assert!(filled(&deep).unwrap_err().contains("nest"));
    assert!(filled(&"$SET".repeat(1000)).unwrap_err().contains("bytes of text"));
}
