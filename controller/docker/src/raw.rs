//! A plain GET, its answer untouched: for the endpoint view, which passes on what newer engines say and bollard's types
//! do not know. Reads only.

use bollard::errors::Error;
use composed_core::model::ServiceName;
use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use hyper::body::Bytes;

use super::{Docker, bounded::MAX_ANSWER, connect::PLAIN, errors::chain, labels};

/// A whole body.
pub type RawResult = Result<Vec<u8>, RawError>;

/// Why there is no good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawError {
    /// The engine says no: its status code and words.
    Status(u16, String),
    /// It does not answer.
    Unavailable(String),
}

impl Docker {
    /// `GET target`, a path with its query, as it stands: no API version is put before it. Within 30 s. All answers that are
    /// being read at one moment have 32 MiB together; what comes beyond that is refused.
    pub async fn get(&self, target: &str) -> RawResult {
        let whole = async {
            let mut pieces = self.follow(target);
            let (mut body, mut room) = (Vec::new(), Vec::new());
            while let Some(piece) = pieces.try_next().await? {
                let more = self.room.try_acquire_many(kibibytes(piece.len()));
                room.push(
                    more.map_err(|_| RawError::Unavailable("its answers are too large to be read at once".to_owned()))?,
                );
                body.extend_from_slice(&piece);
            }
            Ok(body)
        };
        let late = |_| Err(RawError::Unavailable(format!("no answer within {} s", PLAIN.as_secs())));
        tokio::time::timeout(PLAIN, whole).await.unwrap_or_else(late)
    }

    /// The body of `GET target` as it comes, without an end in time.
    pub fn follow(&self, target: &str) -> BoxStream<'static, Result<Bytes, RawError>> {
        // Any call that gives bytes would do: its path is replaced.
        self.api.towards(target).export_container("any").map_err(|error| refusal(&error)).boxed()
    }

    /// Whose a container with these labels is, if it is one of this instance: a replica's service, or nothing for a
    /// companion and the like.
    pub fn owner<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> Option<Option<ServiceName>> {
        (label(labels::INSTANCE)? == &*self.instance).then(|| labels::service_named(label(labels::SERVICE)?))
    }

    /// The filter of a list that leaves only this instance's: `label=value`.
    pub fn own_label(&self) -> String {
        format!("{}={}", labels::INSTANCE, self.instance)
    }
}

/// What all answers that are read at one moment may have together, in KiB.
pub(super) const ROOM: usize = MAX_ANSWER >> 10;

fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX)
}

fn refusal(error: &Error) -> RawError {
    match error {
        Error::DockerResponseServerError { status_code, message } => RawError::Status(*status_code, message.clone()),
        other => RawError::Unavailable(chain(other)),
    }
}
