//! What registries are asked, and what becomes of a question.

use crd_schema::ImageDigest;
use std::collections::BTreeSet;
use std::time::Duration;

use composed_core::reference::Reference;
use futures_util::future::BoxFuture;

/// Much of an error are the registry's own words: so many characters of them are told.
pub(super) const MAX_PROBLEM: usize = 500;

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryError {
    /// Too many requests; wait, at least so long if it said so.
    Busy {
        /// For people.
        why: String,
        /// What it said.
        wait: Option<Duration>,
    },
    /// No answer, or an error of its own.
    Away(String),
    /// It answered no: there is no such image, or not for us.
    Refused(String),
    /// It sent a longer answer than composed reads.
    TooLong,
}

impl RegistryError {
    /// For people, in so many characters at most: much of it are the registry's own words.
    pub(super) fn words(self) -> String {
        let why = match self {
            Self::Busy { why, .. } | Self::Away(why) | Self::Refused(why) => why,
            Self::TooLong => "the registry sent a longer answer than composed reads".to_owned(),
        };
        why.chars().filter(|c| !c.is_control()).take(MAX_PROBLEM).collect()
    }
}

/// Who answers.
pub trait RegistryClient: Send + Sync {
    /// The digest that a tag stands for.
    fn digest<'a>(&'a self, image: &'a Reference) -> BoxFuture<'a, Result<ImageDigest, RegistryError>>;

    /// The platforms that the image of a digest is for: `linux/amd64`, `linux/arm/v7`.
    fn platforms<'a>(
        &'a self,
        image: &'a Reference,
        digest: &'a ImageDigest,
    ) -> BoxFuture<'a, Result<Platforms, RegistryError>>;

    /// All tags of a repository.
    fn tags<'a>(&'a self, image: &'a Reference) -> BoxFuture<'a, Result<Vec<String>, RegistryError>>;
}

/// Platforms, as Docker writes them.
pub type Platforms = BTreeSet<String>;

/// How a question is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryOptions {
    /// How often.
    pub interval: Duration,
    /// A new digest is an answer only if its image is for all of these.
    pub platforms: Platforms,
}

impl QueryOptions {
    /// Whoever asks the same for others asks for both.
    pub fn join(&mut self, other: Self) {
        self.interval = self.interval.min(other.interval);
        self.platforms.extend(other.platforms);
    }
}

/// What is asked again and again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageQuery {
    /// What does this tag stand for?
    Digest(Reference),
    /// Which tag of this repository is the highest version in this range? A tag is spelt as the reference's is.
    Highest(Reference, String),
}

impl ImageQuery {
    /// The image that it is about.
    pub fn image(&self) -> &Reference {
        match self {
            Self::Digest(image) | Self::Highest(image, _) => image,
        }
    }

    pub(super) fn key(&self) -> String {
        match self {
            Self::Digest(image) => image.to_string(),
            Self::Highest(image, range) => format!("{image} {range}"),
        }
    }
}
