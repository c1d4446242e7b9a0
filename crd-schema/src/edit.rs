//! The text of a document with another image; all else stays as it was written, comments and layout too.

use crate::ImageRef;
use crate::yaml::{self, Kind, Node};

/// `text` with the image of a service replaced: of a service document of ours, or of a service of a Compose file. `from` is
/// the image as the file names it.
///
/// # Errors
/// Why it cannot be replaced, in words: the service is not in there, or its image is not written in one piece.
pub fn with_image(text: &str, project: &str, service: &str, from: &ImageRef, to: &ImageRef) -> Result<String, String> {
    let from = from.as_str();
    let (mark, body) = match text.strip_prefix('\u{feff}') {
        Some(body) => ("\u{feff}", body),
        None => ("", text),
    };
    yaml::precheck(body, crate::MAX_FILE_BYTES).map_err(|problem| problem.message)?;
    // The same lines, whatever ends them.
    let plain = body.replace("\r\n", "\n");
    for (line, document) in yaml::documents(&plain) {
        let read = yaml::read_compose(document, line, 0);
        let node = read.map_err(|problems| problems.first().map(|one| one.message.clone()).unwrap_or_default())?;
        let Some(image) = node.as_ref().and_then(|node| image_of(node, project, service)) else { continue };
        let at = offset(body, image, from).filter(|_| image.text() == Some(from));
        let at = at.ok_or_else(|| format!("its image is not written as {from} there: by a variable or an anchor"))?;
        let (before, after) = (body.get(..at).unwrap_or_default(), body.get(at + from.len()..).unwrap_or_default());
        return Ok(format!("{mark}{before}{to}{after}"));
    }
    Err(format!("{service} has no image there"))
}

/// The image of the service in a document, ours or Compose's.
fn image_of<'a>(node: &'a Node, project: &str, service: &str) -> Option<&'a Node> {
    let get = |node: &'a Node, key: &str| node.get(key).map(|(_, value)| value);
    if let Some(services) = get(node, "services") {
        return get(get(services, service)?, "image");
    }
    let metadata = get(node, "metadata")?;
    let is = |key: &str, value: &str| get(metadata, key).and_then(Node::text) == Some(value);
    let spec = get(node, "spec").filter(|_| is("project", project) && is("name", service))?;
    get(spec, "image").filter(|image| matches!(image.kind, Kind::Scalar { .. }))
}

/// Where the words of a scalar begin in the text, in bytes, if they stand there as they are and nothing else with them.
fn offset(text: &str, node: &Node, words: &str) -> Option<usize> {
    let line = text.split_inclusive('\n').nth(node.place.line.checked_sub(1)?)?;
    let begin = line.char_indices().nth(node.place.column.checked_sub(1)?)?.0;
    let rest = line.get(begin..)?;
    let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''));
    let skip = quote.map_or(0, char::len_utf8);
    let end = rest.get(skip..)?.strip_prefix(words)?;
    let ends = match quote {
        Some(quote) => end.starts_with(quote),
        None => end.is_empty() || end.starts_with([' ', '\t', '\r', '\n', ',', '}']),
    };
    let lines = text.split_inclusive('\n').take(node.place.line - 1).map(str::len).sum::<usize>();
    ends.then_some(lines + begin + skip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raised(text: &str) -> Result<String, String> {
        with_image(text, "shop", "web", &ImageRef::new("web:1.4.0"), &ImageRef::new("web:1.4.2"))
    }

    fn document(image: &str) -> String {
        format!(
            "# web:1.4.0 is a note\napiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: web}}\nspec:\n  {image}\n"
        )
    }

    #[test]
    fn only_the_image_of_that_service_is_another() {
        for image in [
            "image: web:1.4.0 # pinned",
            "image: \"web:1.4.0\"",
            "image: 'web:1.4.0'",
            "labels: {was: web:1.4.0}\n  image:   web:1.4.0",
            "image:\n    web:1.4.0",
            "image: >-\n    web:1.4.0",
        ] {
            let text = document(image);
            let expected =
                document(&image.replace(" web:1.4.0", " web:1.4.2").replace("was: web:1.4.2", "was: web:1.4.0"));
            let expected = expected.replace("\"web:1.4.0\"", "\"web:1.4.2\"").replace("'web:1.4.0'", "'web:1.4.2'");
            assert_eq!(raised(&text), Ok(expected.clone()));
            let (other, windows) = (text.replace("name: web}", "name: api}"), text.replace('\n', "\r\n"));
            assert_eq!(raised(&format!("\u{feff}{other}---\n{text}")), Ok(format!("\u{feff}{other}---\n{expected}")));
            assert_eq!(raised(&windows), Ok(expected.replace('\n', "\r\n")));
        }
        let compose = "services:\n  api: {image: web:1.4.0}\n  web: {labels: [\"é: web:1.4.0\"], image: web:1.4.0}\n";
        let expected = "services:\n  api: {image: web:1.4.0}\n  web: {labels: [\"é: web:1.4.0\"], image: web:1.4.2}\n";
        assert_eq!(raised(compose), Ok(expected.to_owned()));
    }

    #[test]
    fn what_is_not_written_in_one_piece_is_left() {
        for image in ["image: web:${TAG}", "image: web:1.4.00", "image: \"web:1.4\\x2e0\""] {
            let why = raised(&document(image)).expect_err(image);
            assert!(why.contains("is not written as web:1.4.0"), "{image}: {why}");
        }
        let anchor = "x-image: &image web:1.4.0\nservices: {web: {image: *image}}\n";
        assert!(raised(anchor).is_err(), "{:?}", raised(anchor));
        assert_eq!(raised(&document("replicas: 1")), Err("web has no image there".to_owned()));
        assert!(raised("a: [").is_err());
    }
}
