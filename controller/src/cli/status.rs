//! `composed status`, `events` and `healthcheck`: what a running controller tells.

use std::path::Path;
use std::process::ExitCode;

use crd_schema::status::{Event, ServiceStatus};

use super::args::{Common, Output, Status};
use super::session::{CONVERGED, FAILED, UNREACHABLE, fail, print_data, print_out};
use super::table;
use crate::api::{Overview, client};

/// Shows the services.
pub async fn status(args: &Status, common: &Common) -> anyhow::Result<ExitCode> {
    let mut after = None;
    loop {
        let target = after.map_or_else(|| "/v1/services".to_owned(), |version| format!("/v1/services?after={version}"));
        let overview: Overview = match client::get(&common.socket, &target).await {
            Ok((_, body)) => serde_json::from_slice(&body)?,
            Err(error) => return Ok(fail(UNREACHABLE, &error)),
        };
        let code = show(args, &overview, after.is_some())?;
        if !args.watch {
            return Ok(ExitCode::from(code));
        }
        after = Some(overview.version);
    }
}

fn show(args: &Status, overview: &Overview, again: bool) -> anyhow::Result<u8> {
    let asked = |status: &&ServiceStatus| match &args.service {
        Some(asked) => *asked == status.name || *asked == format!("{}/{}", status.project, status.name),
        None => true,
    };
    let services: Vec<_> = overview.services.iter().filter(asked).cloned().collect();
    if let (Some(asked), true) = (&args.service, services.is_empty()) {
        eprintln!("error: the controller knows no service {asked}");
        return Ok(FAILED);
    }
    if let Some(format) = args.output {
        print_data(&services, format)?;
        return Ok(CONVERGED);
    }
    if again {
        print_out("");
    }
    if let Some(why) = &overview.health.blocked {
        print_out(&format!("nothing is done: {why}\n"));
    }
    for problem in &overview.health.problems {
        print_out(&format!("{problem}\n"));
    }
    if args.service.is_some() {
        for status in &services {
            print_out(&table::one(status));
        }
    } else {
        print_out(&table::overview(&services));
    }
    Ok(CONVERGED)
}

/// Shows the last events.
pub async fn events(args: &Output, common: &Common) -> anyhow::Result<ExitCode> {
    let events: Vec<Event> = match client::get(&common.socket, "/v1/events").await {
        Ok((_, body)) => serde_json::from_slice(&body)?,
        Err(error) => return Ok(fail(UNREACHABLE, &error)),
    };
    match args.output {
        Some(format) => print_data(&events, format)?,
        None => print_out(&events.iter().map(table::event).collect::<Vec<_>>().join("\n")),
    }
    Ok(ExitCode::from(CONVERGED))
}

/// Asks whether the controller is well: it answers, and nothing blocks it.
pub async fn healthcheck(socket: &Path) -> ExitCode {
    match client::get(socket, "/readyz").await {
        Ok((status, _)) if status.is_success() => ExitCode::from(CONVERGED),
        Ok((_, body)) => fail(FAILED, &String::from_utf8_lossy(&body).trim()),
        Err(error) => fail(FAILED, &error),
    }
}
