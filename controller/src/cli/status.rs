//! `composed status`, `events` and `healthcheck`: what a running controller tells.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use composed_api::{Overview, client};
use crd_schema::status::{ConditionType, Event, Reason, ServiceStatus};
use hyper::StatusCode;

use super::args::{Common, History, Output, PauseArgs, Status, UndoArgs};
use super::session::{CONVERGED, FAILED, UNREACHABLE, fail, print_data, print_err, print_out};
use super::table;

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
    let asked = |status: &&Arc<ServiceStatus>| args.service.as_ref().is_none_or(|asked| is_called(status, asked));
    let services: Vec<_> = overview.services.iter().filter(asked).cloned().collect();
    if let (Some(asked), true) = (&args.service, services.is_empty()) {
        return Ok(unknown(asked));
    }
    if let Some(format) = args.output {
        print_data(&services, format)?;
        return Ok(CONVERGED);
    }
    if again {
        print_out("");
    }
    if let Some(why) = &overview.health.blocked {
        let since = overview.health.blocked_since.map(|since| format!("since {since:.0}, ")).unwrap_or_default();
        print_out(&format!("{since}blocked: {why}\n"));
    }
    for problem in &overview.health.problems {
        print_out(&format!("{problem}\n"));
    }
    for why in [&overview.health.unnotified, &overview.health.state, &overview.health.state_slow].into_iter().flatten()
    {
        print_out(&format!("{why}\n"));
    }
    for told in &overview.health.unreadable {
        print_out(&format!("{told}\n"));
    }
    for foreign in &overview.health.foreign {
        print_out(&format!("{foreign}\n"));
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

fn is_called(status: &ServiceStatus, asked: &str) -> bool {
    asked == status.name || asked == format!("{}/{}", status.project, status.name)
}

fn unknown(asked: &str) -> u8 {
    print_err(&format!("error: the controller knows no service {asked}"));
    FAILED
}

/// Shows the revisions of a service.
pub async fn history(args: &History, common: &Common) -> anyhow::Result<ExitCode> {
    let overview: Overview = match client::get(&common.socket, "/v1/services").await {
        Ok((_, body)) => serde_json::from_slice(&body)?,
        Err(error) => return Ok(fail(UNREACHABLE, &error)),
    };
    let services: Vec<_> = overview.services.iter().filter(|status| is_called(status, &args.service)).collect();
    if services.is_empty() {
        return Ok(ExitCode::from(unknown(&args.service)));
    }
    if let Some(format) = args.output {
        let all: BTreeMap<_, _> =
            services.iter().map(|status| (format!("{}/{}", status.project, status.name), &status.history)).collect();
        print_data(&all, format)?;
        return Ok(ExitCode::from(CONVERGED));
    }
    for status in services {
        print_out(&table::history(status));
    }
    Ok(ExitCode::from(CONVERGED))
}

/// Has services left alone, or not any more.
pub async fn pause(args: &PauseArgs, on: bool, common: &Common) -> anyhow::Result<ExitCode> {
    let overview: Overview = match client::get(&common.socket, "/v1/services").await {
        Ok((_, body)) => serde_json::from_slice(&body)?,
        Err(error) => return Ok(fail(UNREACHABLE, &error)),
    };
    let all = args.services.is_empty();
    if let Some(asked) =
        args.services.iter().find(|asked| !overview.services.iter().any(|status| is_called(status, asked)))
    {
        return Ok(ExitCode::from(unknown(asked)));
    }
    let is_paused = |status: &ServiceStatus| status.condition(ConditionType::Paused).is_some();
    // Of all, those that it is news to.
    let asked = |status: &&Arc<ServiceStatus>| {
        if all { is_paused(status) != on } else { args.services.iter().any(|asked| is_called(status, asked)) }
    };
    let mut code = CONVERGED;
    let verb = if on { "pause" } else { "resume" };
    for status in overview.services.iter().filter(asked) {
        let target = format!("/v1/services/{}/{}/{verb}", status.project, status.name);
        match client::post(&common.socket, &target).await {
            Ok((answer, body)) if answer.is_success() => print_out(&String::from_utf8_lossy(&body)),
            // The front of a service goes with it.
            Ok((StatusCode::CONFLICT, _)) if all => {}
            Ok((_, body)) => {
                print_err(&format!("error: {}", String::from_utf8_lossy(&body)));
                code = FAILED;
            }
            Err(error) => return Ok(fail(UNREACHABLE, &error)),
        }
    }
    Ok(ExitCode::from(code))
}

/// Goes back to an earlier revision.
pub async fn undo(args: &UndoArgs, common: &Common) -> anyhow::Result<ExitCode> {
    let overview: Overview = match client::get(&common.socket, "/v1/services").await {
        Ok((_, body)) => serde_json::from_slice(&body)?,
        Err(error) => return Ok(fail(UNREACHABLE, &error)),
    };
    let mut services = overview.services.iter().filter(|status| is_called(status, &args.service));
    let status = match (services.next(), services.next()) {
        (Some(status), None) => status,
        (None, _) => return Ok(ExitCode::from(unknown(&args.service))),
        (Some(_), Some(_)) => {
            return Ok(fail(FAILED, &format!("several projects have a service {}: write PROJECT/NAME", args.service)));
        }
    };
    let service = format!("/v1/services/{}/{}", status.project, status.name);
    let mut target = format!("{service}/undo");
    if let Some(to) = &args.to {
        target += &format!("?{}", serde_urlencoded::to_string([("to", to)])?);
    }
    match client::post(&common.socket, &target).await {
        Ok((code, body)) if code.is_success() => {
            print_out(&String::from_utf8_lossy(&body));
            if !args.wait {
                return Ok(ExitCode::from(CONVERGED));
            }
            let stands = |status: &ServiceStatus| {
                let there = status.condition(ConditionType::Progressing);
                there.map(|condition| (condition.reason, condition.message.clone()))
            };
            let before = stands(status);
            let begun = |now: &ServiceStatus| {
                let now = stands(now);
                now != before || now.is_some_and(|(reason, _)| reason == Reason::Undone)
            };
            super::rollout::follow(common, &service, &begun).await
        }
        Ok((_, body)) => Ok(fail(FAILED, &String::from_utf8_lossy(&body))),
        Err(error) => Ok(fail(UNREACHABLE, &error)),
    }
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
