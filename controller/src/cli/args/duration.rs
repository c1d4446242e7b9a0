//! Times as people write them on the command line.

use std::time::Duration;

/// `90s`, `1m30s`, as in Compose files.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<crd_schema::ComposeDuration, _> = text.parse();
    parsed.map(crd_schema::ComposeDuration::get).map_err(|error| error.to_string())
}
