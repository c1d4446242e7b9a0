//! How versions are written back.

use super::super::access::Access;
use super::super::address::Address;
use super::super::refs::Follow;
use super::super::verify::{Signed, Verify};

/// Who writes, where nobody else is named.
const AUTHOR: (&str, &str) = ("composed", "composed@localhost");

/// How versions are written back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteBack {
    /// How to get in.
    pub access: Access,
    /// Name and mail of whose commits they are.
    pub author: (String, String),
}

impl WriteBack {
    /// With these ways in; `author` as `Name <mail>`.
    ///
    /// # Errors
    /// What is wrong with the author, in words.
    pub fn new(access: Access, author: Option<&str>) -> Result<Self, String> {
        let Some(author) = author else {
            return Ok(Self { access, author: (AUTHOR.0.to_owned(), AUTHOR.1.to_owned()) });
        };
        let parts = author.trim().strip_suffix('>').and_then(|rest| rest.split_once(" <"));
        let known = |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_control() || "<>".contains(c));
        match parts {
            Some((name, mail)) if known(name) && known(mail) => {
                Ok(Self { access, author: (name.to_owned(), mail.to_owned()) })
            }
            _ => Err("author is to be written as `Name <mail>`".to_owned()),
        }
    }

    /// Whether it fits the rest of a source.
    pub(crate) fn check(&self, follow: &Follow, signed: &Signed, address: &Address) -> Result<(), String> {
        let branch = match follow {
            Follow::Default => true,
            Follow::Ref(name) => name.starts_with("refs/heads/"),
            Follow::Versions(_) => false,
        };
        if !branch {
            return Err("write_back needs a branch to push to, and a tag is followed".to_owned());
        }
        if signed.by != Verify::None {
            return Err("write_back and verify do not go together: composed signs nothing".to_owned());
        }
        self.access.check(address)
    }
}
