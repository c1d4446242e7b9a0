//! Who is told what became of rollouts, from the flags and from the settings file.

use std::collections::BTreeSet;
use std::path::Path;

use composed_status::notifications::NotificationTarget;
use crd_schema::settings::{NotifyFormat, NotifySettings};

use super::args::notices::{NotifyArgs, NotifyWords};
use super::repositories::GivenSettings;

/// All of them.
///
/// # Errors
/// What is wrong with one, in words.
pub fn receivers(args: &NotifyArgs, given: &GivenSettings) -> Result<Vec<NotificationTarget>, String> {
    let mut targets: Vec<NotificationTarget> = Vec::new();
    if let Some(settings) = of_flags(args)? {
        targets.push(NotificationTarget::of(&settings, Path::new(""))?);
    }
    for settings in &given.settings.notify {
        targets.push(NotificationTarget::of(settings, &given.dir)?);
    }
    let mut names = BTreeSet::new();
    match targets.iter().find(|target| !names.insert(&target.name)) {
        Some(twice) => Err(format!("two receivers under `notify` are called {}: give one another `name`", twice.name)),
        None => Ok(targets),
    }
}

/// The settings that say the same as the flags; `None`: nobody is to be told.
fn of_flags(args: &NotifyArgs) -> Result<Option<NotifySettings>, String> {
    if args.notify_url.is_none() && args.notify_url_file.is_none() {
        let nothing = *args == NotifyArgs::default();
        let why = "there are --notify-... options, and neither --notify-url nor --notify-url-file";
        return if nothing { Ok(None) } else { Err(why.to_owned()) };
    }
    let text = |path: &Option<std::path::PathBuf>| {
        let text = path.as_ref().map(|path| path.to_str().ok_or(format!("{} is not UTF-8", path.display())));
        text.map(|text| text.map(str::to_owned)).transpose()
    };
    Ok(Some(NotifySettings {
        name: None,
        format: args.notify_format.map(|words| match words {
            NotifyWords::Json => NotifyFormat::Json,
            NotifyWords::Slack => NotifyFormat::Slack,
            NotifyWords::Discord => NotifyFormat::Discord,
            NotifyWords::Ntfy => NotifyFormat::Ntfy,
            NotifyWords::Gotify => NotifyFormat::Gotify,
        }),
        url: args.notify_url.clone(),
        url_file: text(&args.notify_url_file)?,
        token_file: text(&args.notify_token_file)?,
        projects: args.notify_project.clone(),
        on: Vec::new(),
    }))
}
