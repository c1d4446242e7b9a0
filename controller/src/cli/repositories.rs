//! The settings, and the repositories to follow: from the flags or from a settings file, both are one and the same.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use composed_api::webhook::{Provider, Webhook};
use composed_platform::secret::read_secret;
use composed_source::compose::ComposeOptions;
use composed_source::git::{Access, Address, Follow, GitSource, Signed, Verify, WriteBack};
use crd_schema::settings::{
    ComposeSettings, Settings, SourceSettings, VerifySetting, WebhookProvider, WebhookSettings, WebhooksSettings,
    WriteBackSettings, parse_settings,
};
use tokio::sync::Notify;

use super::args::git::{Git, GitServer, Verified};
use super::args::{Common, Compose, project_name};
use super::places;

/// How often a repository is asked for news.
const INTERVAL: Duration = Duration::from_mins(1);

/// Repositories to follow, and the webhooks that ask for a look.
pub struct Repositories {
    /// Each with what asks for a look.
    pub sources: Vec<(GitSource, Arc<Notify>)>,
    /// Where webhooks arrive, and which.
    pub webhooks: Option<(SocketAddr, Vec<Webhook>)>,
}

/// The settings that somebody has given.
#[derive(Clone, Debug, Default)]
pub struct GivenSettings {
    /// What they say; without a settings file, nothing.
    pub settings: Settings,
    /// Where their relative paths begin.
    pub dir: PathBuf,
}

/// Reads the settings file, if there is one.
///
/// # Errors
/// What is wrong with it, in words.
pub fn given(args: &Git) -> Result<GivenSettings, String> {
    // What one repository asks for, and there is not one.
    if args.git.is_none() && *args != (Git { config: args.config.clone(), ..Git::default() }) {
        return Err("there are --git-... options, and no --git: a settings file has a key for each instead".to_owned());
    }
    let Some(file) = &args.config else { return Ok(GivenSettings::default()) };
    Ok(GivenSettings { settings: read(file)?, dir: file.parent().unwrap_or(Path::new("")).to_owned() })
}

/// What the command line and the settings ask for; `None` if it is not git.
///
/// # Errors
/// What is wrong with it, in words.
pub fn repositories(
    args: &Git,
    given: &GivenSettings,
    compose: &Compose,
    common: &Common,
) -> Result<Option<Repositories>, String> {
    let host_dir = common.host_dir.as_ref();
    let GivenSettings { settings, dir } = given;
    let others = !settings.notify.is_empty() || settings.max_rollouts.is_some();
    let (settings, dir) = match (&args.config, &args.git) {
        // The documents come from elsewhere.
        (Some(_), _) if settings.sources.is_empty() && settings.webhooks.is_none() && others => return Ok(None),
        (Some(_), _) if host_dir.is_some() => {
            return Err("each repository has a directory of its own on the host: write `host_dir` into the settings \
                        file instead of --host-dir"
                .to_owned());
        }
        (Some(_), _) if *compose != Compose::default() => {
            return Err("each repository has a Compose project of its own: write `compose` into the settings file \
                        instead of -p, --profile, --env-file and --env"
                .to_owned());
        }
        (Some(_), _) => (settings.clone(), dir.as_path()),
        (None, Some(git)) => (of_flags(git, args, compose, host_dir)?, Path::new("")),
        (None, None) => return Ok(None),
    };
    let listen = settings.webhooks.as_ref().map(|webhooks| {
        webhooks.listen.parse().map_err(|_| format!("webhooks: {} is to be ADDRESS:PORT", webhooks.listen))
    });
    let listen: Option<SocketAddr> = listen.transpose()?;
    let mut names = BTreeSet::new();
    let (mut sources, mut hooks) = (Vec::new(), Vec::new());
    for setting in &settings.sources {
        let source = source(setting, dir, common)?;
        if !names.insert(source.name.clone()) {
            return Err(format!("two repositories are called {}: give one another `name`", source.name));
        }
        let nudge = Arc::new(Notify::new());
        if let Some(webhook) = &setting.webhook {
            let secret = read_secret(&dir.join(&webhook.secret_file))?;
            hooks.push(Webhook::new(&source.name, provider(webhook.provider), &secret, Arc::clone(&nudge)));
        }
        sources.push((source, nudge));
    }
    if sources.is_empty() {
        return Err("the settings name no repository under `sources`".to_owned());
    }
    match (listen, hooks.is_empty()) {
        (Some(_), true) => Err("webhooks have an address, and no repository has a `webhook`".to_owned()),
        (None, false) => {
            Err("a repository has a `webhook`, but there is no address for it: write `webhooks: {listen: \
                              ADDRESS:PORT}`"
                .to_owned())
        }
        (listen, _) => Ok(Some(Repositories { sources, webhooks: listen.map(|listen| (listen, hooks)) })),
    }
}

fn read(file: &Path) -> Result<Settings, String> {
    let shown = file.display().to_string();
    let bytes = std::fs::read(file).map_err(|error| format!("the settings file {shown} cannot be read: {error}"))?;
    parse_settings(&shown, &bytes).map_err(|problems| {
        let each: Vec<_> = problems.iter().map(ToString::to_string).collect();
        each.join("\n\n")
    })
}

/// The settings file that says the same as the flags.
fn of_flags(git: &str, args: &Git, compose: &Compose, host_dir: Option<&PathBuf>) -> Result<Settings, String> {
    if !(compose.files.is_empty() && compose.allowed.is_empty()) || compose.remove_orphans {
        return Err(
            "-f, --allow and --remove-orphans are for files of this host: of a repository its Compose file at \
                    --git-path is read, and nothing outside it"
                .to_owned(),
        );
    }
    let text = |path: &Option<PathBuf>| {
        let text = path.as_ref().map(|path| path.to_str().ok_or(format!("{} is not UTF-8", path.display())));
        text.map(|text| text.map(str::to_owned)).transpose()
    };
    let verify = args.git_verify.map(|verify| match verify {
        Verified::None => VerifySetting::None,
        Verified::Head => VerifySetting::Head,
        Verified::Tag => VerifySetting::Tag,
    });
    let provider = args.git_webhook_provider.map(|server| match server {
        GitServer::Github => WebhookProvider::Github,
        GitServer::Gitlab => WebhookProvider::Gitlab,
        GitServer::Gitea => WebhookProvider::Gitea,
        GitServer::Forgejo => WebhookProvider::Forgejo,
    });
    let secret_file = text(&args.git_webhook_secret_file)?;
    let write_back = Some(WriteBackSettings {
        token_file: text(&args.git_push_token_file)?,
        ssh_key: text(&args.git_push_ssh_key)?,
        author: args.git_author.clone(),
    });
    let env_files = compose.env_files.iter().map(|file| text(&Some(file.clone())).map(Option::unwrap_or_default));
    let compose = ComposeSettings {
        name: compose.project_name.clone(),
        profiles: compose.profiles.clone(),
        env_files: env_files.collect::<Result<_, _>>()?,
        environment: compose.variables.iter().cloned().collect(),
    };
    let source = SourceSettings {
        name: None,
        git: git.to_owned(),
        reference: args.git_ref.clone(),
        path: args.git_path.clone(),
        interval: args.git_interval.map(Into::into),
        ssh_key: text(&args.git_ssh_key)?,
        known_hosts: text(&args.git_known_hosts)?,
        token_file: text(&args.git_token_file)?,
        verify,
        allowed_signers: text(&args.git_allowed_signers)?,
        keyring: text(&args.git_keyring)?,
        allow_rewrite: args.git_allow_rewrite,
        host_dir: text(&host_dir.cloned())?,
        webhook: provider.zip(secret_file).map(|(provider, secret_file)| WebhookSettings { provider, secret_file }),
        write_back: write_back.filter(|_| args.git_write_back),
        compose: (compose != ComposeSettings::default()).then_some(compose),
    };
    let webhooks = args.git_webhook.map(|listen| WebhooksSettings { listen: listen.to_string() });
    Ok(Settings { sources: vec![source], webhooks, ..Settings::default() })
}

fn source(setting: &SourceSettings, dir: &Path, common: &Common) -> Result<GitSource, String> {
    let wrong = |what: &str, why: String| format!("{what}: {why}");
    // The address itself is not repeated: it may hold what should not be shown.
    let address = if is_relative_path(&setting.git) { dir.join(&setting.git) } else { PathBuf::from(&setting.git) };
    let address =
        Address::parse(&address.to_string_lossy()).map_err(|why| wrong("the address of a repository", why))?;
    let follow = Follow::parse(setting.reference.as_deref().unwrap_or_default()).map_err(|why| wrong("ref", why))?;
    let file = |path: &Option<String>| path.as_ref().map(|path| dir.join(path));
    let by = match setting.verify {
        None | Some(VerifySetting::None) => Verify::None,
        Some(VerifySetting::Head) => Verify::Head,
        Some(VerifySetting::Tag) => Verify::Tag,
    };
    let host_root = setting.host_dir.as_ref().map(|path| {
        let path = std::path::absolute(path);
        path.map_err(|error| wrong("host_dir", error.to_string()))
    });
    let compose = setting.compose.clone().unwrap_or_default();
    let compose = ComposeOptions {
        name: compose.name.as_deref().map(project_name).transpose().map_err(|why| wrong("compose: name", why))?,
        profiles: compose.profiles,
        env_files: compose.env_files.iter().map(|path| dir.join(path)).collect(),
        variables: compose.environment,
        ..ComposeOptions::default()
    };
    let access = Access {
        ssh_key: file(&setting.ssh_key),
        known_hosts: file(&setting.known_hosts),
        token_file: file(&setting.token_file),
    };
    let write_back = setting.write_back.as_ref().map(|back| {
        let access = Access {
            ssh_key: file(&back.ssh_key).or_else(|| access.ssh_key.clone()),
            token_file: file(&back.token_file).or_else(|| access.token_file.clone()),
            known_hosts: access.known_hosts.clone(),
        };
        WriteBack::new(access, back.author.as_deref()).map_err(|why| wrong("write_back", why))
    });
    let source = GitSource {
        name: setting.name.clone().unwrap_or_else(|| address.name()),
        address,
        follow,
        path: setting.path.as_deref().unwrap_or_default().trim_matches('/').to_owned(),
        interval: setting.interval.map_or(INTERVAL, crd_schema::ComposeDuration::get),
        access,
        write_back: write_back.transpose()?,
        signed: Signed { by, allowed_signers: file(&setting.allowed_signers), keyring: file(&setting.keyring) },
        allow_rewrite: setting.allow_rewrite,
        host_root: host_root.transpose()?,
        host_name: places::host_name(common),
        compose,
    };
    source.check()?;
    Ok(source)
}

/// Whether an address is a path that begins at the settings file.
fn is_relative_path(address: &str) -> bool {
    address.starts_with("./") || address.starts_with("../") || address == "." || address == ".."
}

fn provider(provider: WebhookProvider) -> Provider {
    match provider {
        WebhookProvider::Github => Provider::Github,
        WebhookProvider::Gitlab => Provider::Gitlab,
        WebhookProvider::Gitea => Provider::Gitea,
        WebhookProvider::Forgejo => Provider::Forgejo,
    }
}
