//! One command inside a running container, waited for; of its output the last lines are kept.

use std::time::Duration;

use bollard::{
    exec::{StartExecOptions, StartExecResults},
    models::ExecConfig,
};
use composed_core::model::HookFailure;
use crd_schema::{ContainerId, Hook};
use futures_util::StreamExt as _;

use super::{connect::Api, errors::chain};

/// The most one hook may take.
pub(super) const LIMIT: Duration = Duration::from_mins(1);
/// So many lines are kept, of so many bytes at all.
const LINES: usize = 20;
const BYTES: usize = 64 * 1024;

/// Runs a hook to its end. The error says why it did not succeed; after 60 s it is left alone, since the engine cannot
/// end an exec.
pub(super) async fn run(api: &Api, id: &ContainerId, hook: &Hook) -> Result<(), HookFailure> {
    let name = hook.command.first().cloned().unwrap_or_default();
    let mut tail = Tail::default();
    let why = match tokio::time::timeout(LIMIT, to_the_end(api, id, hook, &mut tail)).await {
        Ok(Ok(0)) => return Ok(()),
        Ok(Ok(code)) => format!("`{name}` exited with code {code}"),
        Ok(Err(error)) => format!("`{name}`: {}", chain(&error)),
        Err(_) => format!("`{name}` did not end within {} s", LIMIT.as_secs()),
    };
    Err(HookFailure { why, output: tail.lines() })
}

/// The end of an output, in whole lines: half a secret would not be found in it.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    cut: bool,
}

impl Tail {
    fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        if let Some(surplus) = self.bytes.len().checked_sub(BYTES).filter(|surplus| *surplus > 0) {
            self.bytes.drain(..surplus);
            self.cut = true;
        }
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let lines: Vec<_> = text.lines().skip(usize::from(self.cut)).map(str::to_owned).collect();
        lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().to_vec()
    }
}

async fn to_the_end(api: &Api, id: &ContainerId, hook: &Hook, tail: &mut Tail) -> Result<i64, bollard::errors::Error> {
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
            tail.push(&chunk?.into_bytes());
        }
    }
    let ended = api.client.inspect_exec(&exec).await?;
    Ok(ended.exit_code.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_output_is_whole_lines() {
        let mut tail = Tail::default();
        for number in 0..30 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        assert_eq!((tail.lines().len(), tail.lines().last().map(String::as_str)), (LINES, Some("line 29")));
        // One of which the beginning is gone is left out.
        tail.push(&vec![b'x'; BYTES]);
        tail.push(b"\nlast");
        assert_eq!(tail.lines(), ["last"]);
    }
}
