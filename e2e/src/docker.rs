//! The `docker` command, and nothing else: what people would type to see for themselves.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

/// An engine, by the address that `docker -H` takes; the default one without.
#[derive(Clone, Debug, Default)]
pub struct Docker {
    host: Option<String>,
}

impl Docker {
    /// The engine at `host`.
    pub fn at(host: &str) -> Self {
        Self { host: Some(host.to_owned()) }
    }

    /// Its address, if it is not the default one.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        if let Some(host) = &self.host {
            command.args(["-H", host]);
        }
        command.args(args);
        command
    }

    /// Runs a command, whatever comes of it.
    pub fn output(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().expect("the docker command must be there")
    }

    /// Runs a command that must succeed; returns its standard output, trimmed.
    pub fn run(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {args:?}: {error}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Runs a command on what another one listed, if it listed anything; for cleaning up, so nothing fails.
    pub fn each(&self, list: &[&str], then: &[&str]) {
        let listed = self.output(list).stdout;
        let listed = String::from_utf8_lossy(&listed);
        let ids: Vec<&str> = listed.split_whitespace().collect();
        if !ids.is_empty() {
            drop(self.output(&[then, &ids].concat()));
        }
    }

    /// Starts a command that goes on; its standard output is piped.
    pub fn start(&self, args: &[String]) -> Child {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let mut command = self.command(&args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().expect("the docker command must be there")
    }

    /// Makes an image of a tar archive.
    pub fn import(&self, archive: &[u8], image: &str, changes: &[&str]) {
        let mut args = vec!["import"];
        for change in changes {
            args.extend(["--change", change]);
        }
        args.extend(["-", image]);
        let mut child = self
            .command(&args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the docker command must be there");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(archive).expect("docker import reads the archive");
        drop(stdin);
        assert!(child.wait().expect("docker import ends").success(), "docker import {image}");
    }

    /// Why there is no engine, if there is none.
    pub fn missing(&self) -> Option<String> {
        match self.command(&["version", "--format", "{{.Server.Version}}"]).stdin(Stdio::null()).output() {
            Err(error) => Some(format!("there is no docker command: {error}")),
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }
}
