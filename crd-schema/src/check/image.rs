//! Whether a text can be the name of an image. Source: distribution/reference `regexp.go`, `normalize.go`.

/// Source: distribution/reference `TagRegexp`, `NameTotalLengthMax`.
const MAX_TAG: usize = 128;
const MAX_NAME: usize = 255;

/// Why `text` is no name of an image, and what to write instead.
pub(super) fn wrong(text: &str) -> Option<(String, &'static str)> {
    const HELP: &str = "write it as `name:tag` or `registry/name@sha256:...`";
    let no_image = |why: &str| Some((format!("`{text}` is not an image: {why}"), HELP));
    if text.contains('$') {
        return Some((
            format!("`{text}` is not an image"),
            "composed fills in no variables here; write the image in full",
        ));
    }
    if text.is_empty() {
        return Some((format!("`{text}` is not an image"), HELP));
    }
    // An id of the engine's.
    if is_digest(text) {
        return None;
    }
    let (named, digest) = text.split_once('@').map_or((text, None), |(named, digest)| (named, Some(digest)));
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return no_image("what follows `@` is no digest");
    }
    let (domain, rest) = split_registry(named);
    if domain.is_some_and(|domain| !is_domain_name(domain)) {
        return no_image("what stands before the first `/` is no registry");
    }
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    match tag {
        Some("") => return no_image("there is no tag after `:`"),
        Some(tag) if tag.contains(':') => return no_image("it has more than one tag"),
        Some(tag) if !is_image_tag(tag) => return no_image("a tag is letters, digits, `_`, `.` and `-`, at most 128"),
        _ => {}
    }
    if path.chars().any(char::is_uppercase) {
        return no_image("its name has upper-case letters");
    }
    if named.len() > MAX_NAME || !path.split('/').all(is_part) {
        return no_image("a name is lower-case letters and digits, with `.`, `_` or `-` between them");
    }
    None
}

/// Lower-case letters and digits; between them a dot, one or two underscores, or any number of dashes.
fn is_part(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut between = String::new();
    for c in part.chars() {
        match c {
            c if plain(c) => {
                let joins = matches!(between.as_str(), "" | "." | "_" | "__") || between.chars().all(|c| c == '-');
                if !joins {
                    return false;
                }
                between.clear();
            }
            '.' | '_' | '-' => between.push(c),
            _ => return false,
        }
    }
    between.is_empty() && part.starts_with(plain)
}

/// The registry that the name of an image says, and the rest of it; `None`: it says none.
pub fn split_registry(name: &str) -> (Option<&str>, &str) {
    let (first, rest) = name.split_once('/').unwrap_or(("", name));
    let is_registry = first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase);
    if is_registry { (Some(first), rest) } else { (None, name) }
}

/// Whether this can be the tag of an image.
pub fn is_image_tag(text: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    first && text.len() <= MAX_TAG && text.chars().all(known)
}

fn is_domain_name(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (domain, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let known = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(label),
    };
    known && port.is_none_or(|port| !port.is_empty() && port.chars().all(|c| c.is_ascii_digit()))
}

/// `sha256:` and 64 hexadecimal digits, or another algorithm with at least 32.
fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '_' | '-');
    let length = if algorithm == "sha256" { hex.len() == 64 } else { hex.len() >= 32 };
    algorithm.starts_with(|c: char| c.is_ascii_alphabetic())
        && algorithm.chars().all(known)
        && length
        && hex.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_docker_takes() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let good = [
            "nginx".to_owned(),
            "nginx:1.27-alpine".to_owned(),
            "shop/web:1".to_owned(),
            "localhost:5000/a/b_c__d--e.f:V1".to_owned(),
            "ghcr.io/Owner".to_lowercase(),
            "[::1]:5000/web".to_owned(),
            "REGISTRY/web".to_owned(),
            format!("web@{digest}"),
            format!("web:1@{digest}"),
            digest,
            "web:_1".to_owned(),
        ];
        for name in &good {
            assert_eq!(wrong(name), None, "{name}");
        }
        let bad = [
            ("rolls:", "no tag"),
            ("Rolls:1:2", "more than one tag"),
            ("Rolls", "upper-case"),
            ("ghcr.io/Owner/web", "upper-case"),
            ("web:1:2", "more than one tag"),
            ("web: 1", "a tag is"),
            ("web:-1", "a tag is"),
            ("web@sha256:12", "no digest"),
            ("-web", "a name is"),
            ("a___b", "a name is"),
            ("a//b", "a name is"),
            ("we b", "a name is"),
            ("a..b/web", "no registry"),
            ("host:port/web", "no registry"),
            ("", "is not an image"),
            ("${IMAGE}", "is not an image"),
        ];
        for (name, why) in bad {
            assert!(wrong(name).is_some_and(|(text, _)| text.contains(why)), "{name}: {:?}", wrong(name));
        }
    }
}
