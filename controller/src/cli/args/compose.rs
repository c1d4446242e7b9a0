//! What is asked of Compose projects, in Compose's own words.

use std::path::PathBuf;

use clap::Args;

/// What is asked of Compose projects, in Compose's own words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Compose files")]
pub struct Compose {
    /// A Compose file; with several, each is merged over those before it. In place of the path.
    #[arg(long = "file", short = 'f', value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The project's name.
    #[arg(long, short = 'p', value_name = "NAME", value_parser = project_name)]
    pub project_name: Option<String>,
    /// Activate a profile; `*` is all of them.
    #[arg(long = "profile", value_name = "NAME")]
    pub profiles: Vec<String>,
    /// A file of variables for the Compose file, in place of `.env`; the last one wins.
    #[arg(long = "env-file", value_name = "FILE")]
    pub env_files: Vec<PathBuf>,
    /// A variable for the Compose file, over those of files. composed's own environment is never looked at.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    pub variables: Vec<(String, String)>,
    /// Remove containers of the project that its Compose file has never asked for, such as those of service files.
    #[arg(long)]
    pub remove_orphans: bool,
    /// A directory outside the project's from which its files may be read (`extends`, `include`, `env_file`).
    #[arg(long = "allow", value_name = "DIR")]
    pub allowed: Vec<PathBuf>,
}

/// The name of a Compose project.
///
/// # Errors
/// Says what a name may be made of.
pub fn project_name(text: &str) -> Result<String, String> {
    if crd_schema::compose::is_project_name(text) {
        return Ok(text.to_owned());
    }
    Err("use lowercase letters, digits, `_` and `-`, and start with a letter or digit".to_owned())
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE: composed never reads its own environment".to_owned()),
    }
}
