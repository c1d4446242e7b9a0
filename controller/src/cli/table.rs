//! Statuses as people read them.

use std::sync::Arc;

use comfy_table::{ContentArrangement, Table, presets};
use crd_schema::status::{
    ConditionType, Event, HookOutcome, ReplicaPhase, RevisionStatus, ServiceStatus, TrafficPath, UpdateStatus,
    WaitReason,
};

use crd_schema::ImageId;

use super::terminal;

/// One line for each service.
pub fn overview(statuses: &[Arc<ServiceStatus>]) -> String {
    let mut table = plain(["SERVICE", "AVAILABLE", "UPDATED", "GEN", "REVISION", "STATE", "DETAIL"]);
    for status in statuses {
        table.add_row([
            format!("{}/{}", status.project, status.name),
            format!("{}/{}", status.available, status.replicas),
            status.updated.to_string(),
            status.generation.to_string(),
            status.revision.to_string(),
            state(status),
            detail(status),
        ]);
    }
    table.trim_fmt()
}

/// Everything about one service.
pub fn one(status: &ServiceStatus) -> String {
    let mut text = format!(
        "{}/{}  {}  generation {} (observed {})\n  {} of {} available, {} updated, {} live; revision {}",
        status.project,
        status.name,
        status.strategy,
        status.generation,
        status.observed_generation,
        status.available,
        status.replicas,
        status.updated,
        status.live,
        status.revision,
    );
    if let Some(current) = status.current_revision.as_ref().filter(|current| **current != status.revision) {
        text += &format!(" (last available: {current})");
    }
    if let Some(source) = &status.source {
        text += &format!("\n  from {source}");
    }
    if let Some(commit) = &status.commit {
        text += &format!("\n  asked for by commit {commit}");
    }
    if let Some(error) = &status.error {
        text += &format!("\n{error}");
    }
    let mut conditions = plain(["CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"]);
    for condition in &status.conditions {
        conditions.add_row([
            condition.kind.to_string(),
            if condition.status { "True".to_owned() } else { "False".to_owned() },
            condition.reason.to_string(),
            condition.last_transition.strftime("%F %T").to_string(),
            condition.message.clone(),
        ]);
    }
    let mut replicas = plain(["REPLICA", "PHASE", "REVISION", "SINCE", "ENDPOINTS", "REASON"]);
    for replica in &status.instances {
        replicas.add_row([
            replica.name.clone(),
            replica.phase.to_string(),
            replica.revision.to_string(),
            replica.since.strftime("%F %T").to_string(),
            replica.endpoints.join(" "),
            replica.reason.clone().unwrap_or_default(),
        ]);
    }
    text += &format!("\n\n{}\n\n{}", conditions.trim_fmt(), replicas.trim_fmt());
    if let Some(canary) = &status.canary {
        let until = canary.until.map(|until| format!(" until {}", until.strftime("%T")));
        text += &format!(
            "\non trial: revision {} with {} % of the requests{}",
            canary.revision,
            canary.weight,
            until.unwrap_or_default()
        );
    }
    for path in &status.traffic {
        text += &format!("\n{}", by(path));
    }
    if let Some(update) = &status.update {
        text += &format!("\n{}", image(update));
    }
    if let Some(hint) = &status.hint {
        text += &format!("\nhint: {}", terminal::line(hint));
    }
    if let Some(record) = status.history.first() {
        text += &fault_of(record);
        text += &hooks_of(record);
    }
    for waiting in &status.waiting {
        let until = waiting.until.map(|until| format!(" (until {} at the latest)", until.strftime("%T")));
        text += &format!("\nwaits for {}{}", terminal::line(&waiting.on), until.unwrap_or_default());
    }
    text
}

/// A way by which requests come.
pub fn by(path: &TrafficPath) -> String {
    terminal::line(&format!("requests come by {} ({}): {}", path.path, path.proof, path.detail))
}

/// Which image is wanted, and what is known of newer ones.
fn image(update: &UpdateStatus) -> String {
    let short = |id: &ImageId| {
        let bare = id.as_str().strip_prefix("sha256:").unwrap_or(id.as_str());
        bare.get(..12).unwrap_or(bare).to_owned()
    };
    let mut text = format!("image: {}", update.image);
    if let Some(id) = &update.image_id {
        text += &format!(" ({})", short(id));
    }
    if let Some(document) = &update.raised_from {
        text += &format!(", higher than the document's {document}");
    }
    if let Some(newer) = &update.newer {
        let until = update.not_before.map(|at| format!(" until {}", at.strftime("%T"))).unwrap_or_default();
        let why = update.why_not.as_deref().unwrap_or_default();
        text += &format!("; the tag stands for {} by now, which waits{until}: {why}", short(newer));
    }
    if let Some(at) = update.checked_at {
        text += &format!("; the registry was last asked at {}", at.strftime("%T"));
    }
    if let Some(at) = update.next_check {
        text += &format!(", next at {}", at.strftime("%T"));
    }
    if let Some(far) = &update.pulling {
        text += &format!(
            "; being pulled: {} of {} layers, {} of {} bytes",
            far.layers_done, far.layers, far.bytes, far.total
        );
    }
    if let Some(problem) = &update.problem {
        text += &format!("\nno newer image: {}", terminal::line(problem));
    }
    text
}

/// The revisions of a service, newest first.
pub fn history(status: &ServiceStatus) -> String {
    let mut table = plain(["REVISION", "GEN", "RESULT", "BEGUN", "TOOK", "IMAGE", "COMMIT"]);
    for record in &status.history {
        let took = record.ended.map(|ended| ended.duration_since(record.since).as_secs_f64().max(0.0));
        let id = record.image_id.as_ref().map(ImageId::as_str).map(|id| id.strip_prefix("sha256:").unwrap_or(id));
        let id = id.map(|id| format!(" ({})", id.get(..12).unwrap_or(id)));
        table.add_row([
            record.revision.to_string(),
            record.generation.to_string(),
            result(record),
            record.since.strftime("%F %T").to_string(),
            took.map_or_else(String::new, |seconds| format!("{seconds:.1} s")),
            record.image.to_string() + &id.unwrap_or_default(),
            record.commit.as_ref().map(ToString::to_string).unwrap_or_default(),
        ]);
    }
    let more: String = status.history.iter().map(|record| fault_of(record) + &hooks_of(record)).collect();
    format!("{}/{}\n{}{more}", status.project, status.name, table.trim_fmt())
}

/// What became of a revision, and that somebody gave it up by hand.
fn result(record: &RevisionStatus) -> String {
    let undone = record.undone.as_ref().map(|undone| {
        let by = undone.by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
        format!(", undone{by} at {} for {}", undone.at.strftime("%F %T"), undone.to)
    });
    terminal::line(&format!("{}{}", record.outcome, undone.unwrap_or_default()))
}

/// Why a revision has failed, the last of what it wrote, and the command that shows more.
fn fault_of(record: &RevisionStatus) -> String {
    let Some(fault) = &record.fault else { return String::new() };
    let mut text = format!("\n{} failed: {}", record.revision, terminal::line(&fault.message));
    text += &fault.output.iter().map(|line| format!("\n  | {}", terminal::line(line))).collect::<String>();
    if let Some(container) = &fault.container {
        text += &format!("\n  more: docker logs {}", terminal::line(container));
    }
    text
}

/// What became of the hooks of a revision, and the last of what those said that did not end well.
fn hooks_of(record: &RevisionStatus) -> String {
    let mut text = String::new();
    for (key, hook) in [("pre_deploy", &record.pre_deploy), ("post_deploy", &record.post_deploy)] {
        let Some(hook) = hook else { continue };
        let code = hook.exit_code.map(|code| format!(" with code {code}")).unwrap_or_default();
        let took = hook.ended.map(|ended| ended.duration_since(hook.since).as_secs_f64().max(0.0));
        let took = took.map(|seconds| format!(" after {seconds:.1} s")).unwrap_or_default();
        let times = if hook.attempts > 1 { format!(", begun {} times", hook.attempts) } else { String::new() };
        text += &format!("\n{key} of {}: {}{code}{took}{times}", record.revision, hook.outcome);
        if hook.outcome != HookOutcome::Succeeded {
            text += &hook.output.iter().map(|line| format!("\n  {}", terminal::line(line))).collect::<String>();
        }
    }
    text
}

/// One event as a line.
pub fn event(event: &Event) -> String {
    let service =
        if event.service.is_empty() { event.project.clone() } else { format!("{}/{}", event.project, event.service) };
    let outcome = event.outcome.as_ref().map(|why| format!(" FAILED: {why}")).unwrap_or_default();
    terminal::line(&format!("{}  {service}  {}  ({}){outcome}", event.at.strftime("%T%.3f"), event.action, event.cause))
}

/// A service in a few words, for lines of progress.
pub fn line(status: &ServiceStatus) -> String {
    let mut phases: Vec<(ReplicaPhase, usize)> = Vec::new();
    for replica in &status.instances {
        match phases.iter_mut().find(|(phase, _)| *phase == replica.phase) {
            Some((_, count)) => *count += 1,
            None => phases.push((replica.phase, 1)),
        }
    }
    let phases: Vec<_> =
        phases.iter().map(|(phase, count)| format!("{count} {}", phase.to_string().to_lowercase())).collect();
    terminal::line(&format!(
        "{}/{}  {}/{} available, {} updated  [{}]  {}  {}",
        status.project,
        status.name,
        status.available,
        status.replicas,
        status.updated,
        phases.join(", "),
        state(status),
        detail(status)
    ))
}

fn state(status: &ServiceStatus) -> String {
    let progressing = status.condition(ConditionType::Progressing);
    progressing.map_or_else(String::new, |condition| condition.reason.to_string())
}

fn detail(status: &ServiceStatus) -> String {
    if let Some(error) = status.error.as_ref().and_then(|error| error.lines().next()) {
        return error.to_owned();
    }
    let failed = status.conditions.iter().find(|c| c.kind == ConditionType::Progressing && !c.status);
    let waits = status.waiting.first().map(|waiting| {
        // Proxies are given more time as they answer: each moment would be a line of its own.
        let until = waiting.until.filter(|_| !matches!(waiting.reason, WaitReason::Proxy));
        let until = until.map_or_else(String::new, |until| format!(" (until {} at the latest)", until.strftime("%T")));
        format!("waits for {}{until}", waiting.on)
    });
    failed.map(|condition| condition.message.clone()).or(waits).unwrap_or_default()
}

fn plain<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    if let Some(column) = table.column_mut(0) {
        column.set_padding((0, 1));
    }
    table
}
