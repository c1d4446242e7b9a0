//! The environment files of a service document: read by the rules of Compose, but for names without a value. Nothing is
//! looked up in the controller's own environment.

use crd_schema::EnvFile;
use crd_schema::compose::dotenv::{Format, NameAlone, Reader, Unreadable, Variables, room};

/// The environment files of one service document, read in order.
pub struct EnvFiles<'a> {
    environment: &'a Variables,
    /// What `environment` and the files read so far set; the last one wins.
    pub variables: Variables,
    room: usize,
}

impl<'a> EnvFiles<'a> {
    /// `environment` is the document's own: values of files may use it.
    pub fn new(environment: &'a Variables) -> Self {
        Self { environment, variables: environment.clone(), room: room() }
    }

    /// Reads the next file, and returns how many of its lines set a variable.
    ///
    /// # Errors
    /// The line that cannot be read, and why. Values never appear in it.
    pub fn read(&mut self, file: &EnvFile, text: &str) -> Result<usize, Unreadable> {
        let format = if file.format.as_deref() == Some("raw") { Format::Raw } else { Format::Compose };
        let mut reader = Reader { outer: self.environment, name_alone: NameAlone::Refused, room: &mut self.room };
        reader.read(text, format, &mut self.variables)
    }
}
