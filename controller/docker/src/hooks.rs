//! One command inside a running container, waited for, its output thrown away.

use std::time::Duration;

use bollard::{
    exec::{StartExecOptions, StartExecResults},
    models::ExecConfig,
};
use crd_schema::{ContainerId, Hook};
use futures_util::StreamExt as _;

use super::{connect::Api, errors::chain};

/// The most one hook may take.
const LIMIT: Duration = Duration::from_mins(1);

/// Runs a hook to its end. The error says why it did not succeed; after 60 s it is left alone, since the engine cannot
/// end an exec.
pub(super) async fn run(api: &Api, id: &ContainerId, hook: &Hook) -> Result<(), String> {
    let name = hook.command.first().cloned().unwrap_or_default();
    match tokio::time::timeout(LIMIT, to_the_end(api, id, hook)).await {
        Ok(Ok(0)) => Ok(()),
        Ok(Ok(code)) => Err(format!("`{name}` exited with code {code}")),
        Ok(Err(error)) => Err(format!("`{name}`: {}", chain(&error))),
        Err(_) => Err(format!("`{name}` did not end within {} s", LIMIT.as_secs())),
    }
}

async fn to_the_end(api: &Api, id: &ContainerId, hook: &Hook) -> Result<i64, bollard::errors::Error> {
    let variables = hook.environment.iter().map(|(name, value)| format!("{name}={value}"));
    let config = ExecConfig {
        cmd: Some(hook.command.clone()),
        user: hook.user.clone(),
        privileged: Some(hook.privileged),
        working_dir: hook.working_dir.clone(),
        env: Some(variables.collect()),
        // Attached, because the end of the output is the only sign of the end that does not need polling.
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..ExecConfig::default()
    };
    let exec = api.client.create_exec(id.as_str(), config).await?.id;
    let started = api.client.start_exec(&exec, None::<StartExecOptions>).await?;
    if let StartExecResults::Attached { mut output, .. } = started {
        // Read on to the end, however much comes: a full pipe would block the command.
        while let Some(chunk) = output.next().await {
            drop(chunk?);
        }
    }
    let ended = api.client.inspect_exec(&exec).await?;
    Ok(ended.exit_code.unwrap_or(0))
}
