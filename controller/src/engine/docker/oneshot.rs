//! What the containers of hooks have said: the last of it, read once for each, and bounded whatever comes.

use std::time::Duration;

use bollard::{container::LogOutput, query_parameters::LogsOptions};
use futures_util::StreamExt as _;

use super::{
    connect::{Api, segment},
    seen::Seen,
};

/// So many lines, each so long (characters), and so many bytes at all.
const LINES: usize = 20;
const WIDTH: usize = 300;
const BYTES: usize = 64 * 1024;
/// The engine has them at hand, or not at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// The last lines of a container that has ended. What cannot be read, since its logs go elsewhere, is nothing.
pub(super) async fn output(api: &Api, seen: &Seen, id: &str) -> Vec<String> {
    if let Some(known) = seen.output(id) {
        return known;
    }
    let Ok(bare) = segment(id) else { return Vec::new() };
    let options = LogsOptions { stdout: true, stderr: true, tail: LINES.to_string(), ..LogsOptions::default() };
    let mut pieces = api.client.logs(bare, Some(options)).boxed();
    let mut text = Vec::new();
    let read = async {
        while let Some(Ok(piece)) = pieces.next().await {
            match piece {
                LogOutput::StdOut { message } | LogOutput::StdErr { message } | LogOutput::Console { message } => {
                    text.extend_from_slice(&message);
                }
                LogOutput::StdIn { .. } => {}
            }
            if text.len() > BYTES {
                break;
            }
        }
    };
    if tokio::time::timeout(PATIENCE, read).await.is_err() {
        tracing::warn!(container = id, "its output could not be read in time");
    }
    let lines = lines(&text);
    seen.put_output(id, &lines);
    lines
}

/// The last lines of a text, without what would move a terminal's cursor.
fn lines(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let clean = |line: &str| line.chars().filter(|c| !c.is_control() || *c == '\t').take(WIDTH).collect::<String>();
    let all: Vec<String> = text.lines().map(clean).filter(|line| !line.trim().is_empty()).collect();
    let surplus = all.len().saturating_sub(LINES);
    all.into_iter().skip(surplus).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_cannot_harm() {
        let text: String = (0..30).map(|line| format!("line {line}\r\n")).collect();
        let last = lines((text + "\x1b[31mred\x07\n\n" + &"x".repeat(1000)).as_bytes());
        assert_eq!(last.len(), LINES);
        assert_eq!((last.first().map(String::as_str), last[18].as_str()), (Some("line 12"), "[31mred"));
        assert_eq!(last[19].len(), WIDTH);
        assert!(lines(b"\xff\n").first().is_some_and(|line| !line.is_empty()));
    }
}
