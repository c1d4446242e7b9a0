//! What the containers of hooks, and replicas that are not well, have said: the last of it, read once for each run, and bounded
//! whatever comes. Lines are whole, so that secrets are found in them: they are cut where those were hidden.

use std::time::Duration;

use bollard::{container::LogOutput, query_parameters::LogsOptions};
use crd_schema::ContainerId;
use futures_util::StreamExt as _;

use super::{
    connect::{Api, segment},
    seen::InspectCache,
};

/// So many lines: more than are shown, since a secret may be spread over several, and is found as a whole only.
const LINES: usize = 60;
/// So many bytes of them are kept, the last ones, and so many are read.
const BYTES: usize = 64 * 1024;
const MAX_READ: usize = 4 << 20;
/// The engine keeps what is longer in pieces, and counts these.
const PIECE: usize = 16 * 1024;
/// The engine has them at hand, or not at all.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The last lines of a container in this run of it. What cannot be read, since its logs go elsewhere, is nothing.
pub(super) async fn output(api: &Api, seen: &InspectCache, id: &ContainerId, run: &str) -> Vec<String> {
    if let Some(known) = seen.output(id, run) {
        return known;
    }
    let Ok(bare) = segment(id.as_str()) else { return Vec::new() };
    let tail = (LINES + 1).to_string();
    let options = LogsOptions { stdout: true, stderr: true, tail, ..LogsOptions::default() };
    let mut pieces = api.client.logs(bare, Some(options)).boxed();
    let mut text = Vec::new();
    let (mut whole, mut taken) = (false, 0);
    let read = async {
        loop {
            match pieces.next().await {
                None => {
                    whole = true;
                    break;
                }
                Some(Err(_)) => break,
                Some(Ok(
                    LogOutput::StdOut { message } | LogOutput::StdErr { message } | LogOutput::Console { message },
                )) => text.extend_from_slice(&message),
                Some(Ok(LogOutput::StdIn { .. })) => {}
            }
            if text.len() > BYTES {
                let surplus = text.len() - BYTES;
                taken += surplus;
                text.drain(..surplus);
            }
            if taken > MAX_READ {
                break;
            }
        }
    };
    if tokio::time::timeout(CALL_TIMEOUT, read).await.is_err() {
        tracing::warn!(container = id.as_str(), "its output could not be read in time");
    }
    let lines = lines(&text, whole, taken > 0);
    seen.put_output(id, run, &lines);
    lines
}

/// The last lines of a text, of those that are certainly whole. With `ended`, it was read to its end; with `cut`, its beginning is
/// not that of a line.
fn lines(text: &[u8], ended: bool, cut: bool) -> Vec<String> {
    let pieces = text.len() / PIECE;
    let text = String::from_utf8_lossy(text);
    let mut all: Vec<&str> = text.split_inclusive('\n').collect();
    if !ended && all.last().is_some_and(|line| !line.ends_with('\n')) {
        all.pop();
    }
    // As many as were asked for: the first one may be the rest of a longer one.
    if !ended || cut || all.len() + pieces > LINES {
        all.drain(..all.len().min(1));
    }
    if all.is_empty() && !text.is_empty() {
        return vec!["(its last line is too long to be shown)".to_owned()];
    }
    let all: Vec<&str> = all.into_iter().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let surplus = all.len().saturating_sub(LINES);
    all.into_iter().skip(surplus).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_whole() {
        let text: String = (0..90).map(|line| format!("line {line}\r\n")).collect();
        let text = text + "\n\n" + &"x".repeat(1000);
        let last = lines(text.as_bytes(), true, false);
        assert_eq!(last.len(), LINES);
        assert_eq!((last[0].as_str(), last[58].as_str(), last[59].len()), ("line 31", "line 89", 1000));
        assert!(lines(b"\xff\n", true, false).first().is_some_and(|line| !line.is_empty()));
        assert_eq!(lines(b"the rest of one\nthe reason\n", true, true), ["the reason"]);
    }

    #[test]
    fn a_line_that_may_not_be_whole_is_none() {
        assert_eq!(lines(b"one\ntwo\nthr", false, false), ["two"]);
        assert_eq!(lines(b"one\ntwo\nthree", true, false), ["one", "two", "three"]);
        assert!(lines(b"", false, false).is_empty());
        assert_eq!(lines(b"one", true, true), ["(its last line is too long to be shown)"]);
        let text = |long: usize| format!("rest\n{}\n{}", "x".repeat(long), "last\n".repeat(57));
        assert_eq!(lines(text(2 * PIECE).as_bytes(), true, false).len(), 58);
        assert_eq!(lines(text(10).as_bytes(), true, false).len(), 59);
    }
}
