//! `composed plan` and `composed validate`: look, say, change nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;

use composed_core::engine::{ObserveRequest, observe_once};
use composed_core::model::{Desired, ServiceName};
use composed_core::plan::action::Plan;
use composed_core::plan::{hint, project};
use composed_source::catalog::Catalog;
use crd_schema::ImageRef;
use crd_schema::status::{ConditionType, Reason, TrafficPath};
use serde::Serialize;

use super::args::{Common, Read};
use super::places;
use super::preflight;
use super::session::{
    CONVERGED, INVALID, Session, UNREACHABLE, fail, known, print_data, print_err, print_out, say_notes,
};
use super::table::by;
use crate::controller::{self, Uses};
use crate::subject::Subject;

/// What would be done for one service or project.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// The service, or the project.
    pub name: String,
    /// In which order, and why.
    pub strategy: String,
    /// What would be done.
    pub actions: Vec<PlannedAction>,
    /// What it waits for.
    pub waiting: Vec<String>,
    /// The ways by which requests come, as its specification makes them and as a controller with the same state knew last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<TrafficPath>,
    /// That somebody has gone back by hand, so that what runs is not what the file asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What the rollout that would begin now will cost, and the line that helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The one line that would make its rollouts quicker or surer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// One action.
#[derive(Debug, Serialize)]
pub struct PlannedAction {
    /// What.
    pub action: String,
    /// Why.
    pub cause: String,
}

/// Checks files.
pub fn validate(args: &Read, common: &Common) -> anyhow::Result<ExitCode> {
    if let Err(why) = places::named(args.path.as_deref(), &args.compose) {
        return Ok(fail(INVALID, &why));
    }
    let source = places::documents(args.path.as_deref(), &args.compose, common);
    let reading = source.read();
    let catalog = Catalog::new(&reading, &Catalog::empty(false));
    let count = catalog.names().count();
    say_notes(&catalog);
    if let Some(format) = args.output {
        let elsewhere: Vec<_> = elsewhere(&catalog).collect();
        print_data(&BTreeMap::from([("problems", &catalog.problems), ("elsewhere", &elsewhere)]), format)?;
    } else if catalog.problems.is_empty() {
        print_out(&valid(count, catalog.files()));
        elsewhere(&catalog).for_each(|line| print_out(&line));
    } else {
        print_err(&catalog.problems.join("\n\n"));
    }
    let any = count > 0 || !catalog.elsewhere.is_empty() || !catalog.inactive.is_empty();
    let valid = catalog.problems.is_empty() && any;
    if catalog.problems.is_empty() && !any {
        return Ok(fail(INVALID, &format!("{} holds no service documents", source.path.display())));
    }
    Ok(ExitCode::from(if valid { CONVERGED } else { INVALID }))
}

fn valid(services: usize, files: usize) -> String {
    let some = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let verb = if services == 1 { "is" } else { "are" };
    format!("{} in {} {verb} valid", some(services, "service"), some(files, "file"))
}

/// The services that are for other hosts.
fn elsewhere(catalog: &Catalog) -> impl Iterator<Item = String> {
    catalog.elsewhere.iter().map(|(name, why)| format!("{name} {why}"))
}

/// Says what would be done.
pub async fn plan(args: &Read, common: &Common) -> anyhow::Result<ExitCode> {
    if let Err(why) = places::named(args.path.as_deref(), &args.compose) {
        return Ok(fail(INVALID, &why));
    }
    let reading = places::source(args.path.as_deref(), &args.compose, common).read();
    let catalog = Catalog::new(&reading, &Catalog::empty(false).knowing(known(common).load_made_of()));
    say_notes(&catalog);
    if !catalog.problems.is_empty() {
        return Ok(fail(INVALID, &catalog.problems.join("\n\n")));
    }
    let session = match Session::look(common, &Arc::default()).await {
        Ok(session) => session,
        Err(error) => return Ok(fail(UNREACHABLE, &error)),
    };
    let intents = match intents(&session, &catalog, reading.single).await {
        Ok(intents) => intents,
        Err(error) => return Ok(fail(UNREACHABLE, &error)),
    };
    match args.output {
        Some(format) => print_data(&intents, format)?,
        None => print_out(&text(&intents)),
    }
    preflight::say_directories(common, (&catalog, &reading), &|_| true);
    match preflight::missing(&*session.engine, common, (&catalog, &reading), &|_| true).await {
        Ok(missing) if missing.is_empty() => Ok(ExitCode::from(CONVERGED)),
        Ok(missing) => Ok(fail(INVALID, &missing.join("\n"))),
        Err(error) => Ok(fail(UNREACHABLE, &error)),
    }
}

/// What would be done now: nothing is changed, and nothing is started to find out. Statuses go to the session's board,
/// where dependants read them.
pub async fn intents(
    session: &Session,
    catalog: &Catalog,
    single: bool,
) -> Result<Vec<Intent>, composed_core::engine::EngineError> {
    let mut memories = BTreeMap::new();
    let mut images = BTreeSet::new();
    let mut asked = BTreeMap::new();
    for name in catalog.names() {
        let memory = session.state.load(name);
        if let Some(service) = catalog.service(name) {
            images.insert(service.spec.image.clone());
            images.extend(service.spec.hook_images().cloned());
            asked.insert(name.clone(), controller::asked(catalog, service));
        }
        images.extend(memory.revisions.history.iter().map(|record| record.spec.image.clone()));
        images.extend(memory.revisions.history.iter().filter_map(|record| record.image.as_ref().map(ImageRef::from)));
        memories.insert(name.clone(), memory);
    }
    let compose = Arc::new(catalog.names().cloned().chain(session.state.adopted()).collect());
    let host_ports = catalog.names().filter_map(|name| catalog.service(name)).any(controller::has_host_ports);
    let request = ObserveRequest { services: None, images, compose, desired: asked, host_ports };
    let snapshot = observe_once(&*session.engine, &request).await?;
    let mut intents = Vec::new();
    let projects: BTreeSet<_> = catalog.names().map(|name| name.project.clone()).collect();
    for name in &projects {
        let plan = project::plan(name, &catalog.project(name), &catalog.specs(name), &snapshot.listing, false);
        if !plan.settled() {
            intents.push(intent(format!("project {name}"), String::new(), &plan));
        }
    }
    // With one file the others are looked at, too: it may depend on them.
    let names = dependencies_first(&catalog.names().chain(&snapshot.listing.owned).cloned().collect(), catalog);
    let uses = Uses::default();
    for name in &names {
        let replicas = snapshot.replicas.get(name).map_or(&[][..], Vec::as_slice);
        uses.note(name, memories.entry(name.clone()).or_insert_with(|| session.state.load(name)), replicas);
    }
    for name in &names {
        // Long enough ago: what would be done in the end is what people ask for.
        let missed = jiff::Timestamp::UNIX_EPOCH;
        let (statuses, images) = (&*session.statuses, Some(&*session.images));
        let subject = Subject { name, catalog, snapshot: &snapshot, statuses, images };
        if let Some(why) = snapshot.unknown.get(name) {
            intents.push(intent(name.to_string(), format!("not known: {why}"), &Plan::default()));
            continue;
        }
        let project = catalog.project(&name.project);
        let mut memory = memories.remove(name).unwrap_or_default();
        let desired = subject.understood(subject.desired(missed), &mut memory);
        let pass = subject.pass(&desired, &project, uses.spared(name, &memory), session.clock.now());
        let decision = pass.decide(session.monitor.as_ref(), &snapshot, &mut memory).await;
        session.statuses.publish(name, decision.status.clone());
        if catalog.renamed(name).is_none() && ((single && !catalog.knows(name)) || !catalog.minds(name)) {
            continue;
        }
        let stands = decision.status.condition(ConditionType::Progressing);
        let undone = stands.filter(|condition| condition.reason == Reason::Undone);
        let note = undone.map(|condition| condition.message.clone());
        let strategy = match &desired {
            Desired::Run(_) => decision.status.strategy.clone(),
            Desired::Gone(_) => match catalog.elsewhere.get(name) {
                Some(why) => format!("removed: it {why}"),
                None => "removed: its document is gone".to_owned(),
            },
            Desired::Held(_) => "left as it is".to_owned(),
        };
        let spec = catalog.service(name).map(|service| &service.spec);
        let traffic = spec.map_or_else(Vec::new, |spec| {
            let known = session.state.load_status(name).map(|status| status.traffic).unwrap_or_default();
            if known.is_empty() { hint::ways(spec) } else { known }
        });
        let hint = spec.and_then(|spec| hint::hint(spec, &traffic));
        let replaces = decision.begins_rollout();
        let warning = spec.filter(|_| replaces).and_then(|spec| hint::warning(spec, &traffic, false));
        intents.push(Intent { traffic, note, warning, hint, ..intent(name.to_string(), strategy, &decision.plan) });
    }
    for (name, why) in catalog.elsewhere.iter().filter(|(name, _)| !names.contains(name)) {
        intents.push(intent(name.to_string(), why.clone(), &Plan::default()));
    }
    Ok(intents)
}

/// The services so that each comes after those that it depends on, as far as they do not depend on each other.
fn dependencies_first(names: &BTreeSet<ServiceName>, catalog: &Catalog) -> Vec<ServiceName> {
    let mut order = Vec::new();
    let mut begun = BTreeSet::new();
    // Twice: before its dependencies are put on the stack, and after.
    let mut stack: Vec<_> = names.iter().rev().map(|name| (name.clone(), false)).collect();
    while let Some((name, dependencies_done)) = stack.pop() {
        if dependencies_done {
            order.push(name);
        } else if names.contains(&name) && begun.insert(name.clone()) {
            let spec = catalog.service(&name).map(|service| &service.spec);
            let others = spec.into_iter().flat_map(|spec| spec.depends_on.keys());
            let others: Vec<_> = others.map(|other| (ServiceName::new(&name.project, other), false)).collect();
            stack.push((name, true));
            stack.extend(others);
        }
    }
    order
}

fn intent(name: String, strategy: String, plan: &Plan) -> Intent {
    let actions = plan
        .actions
        .iter()
        .map(|action| PlannedAction { action: action.verb.to_string(), cause: action.cause.clone() });
    let waiting = plan.waiting.iter().map(|waiting| waiting.on.clone());
    Intent {
        name,
        strategy,
        actions: actions.collect(),
        waiting: waiting.collect(),
        traffic: Vec::new(),
        hint: None,
        warning: None,
        note: None,
    }
}

fn text(intents: &[Intent]) -> String {
    let mut lines = Vec::new();
    for intent in intents {
        let strategy = if intent.strategy.is_empty() { String::new() } else { format!("  ({})", intent.strategy) };
        lines.push(format!("{}{strategy}", intent.name));
        lines.extend(intent.actions.iter().map(|step| format!("  {}  because: {}", step.action, step.cause)));
        lines.extend(intent.waiting.iter().map(|what| format!("  waits for {what}")));
        if intent.actions.is_empty() && intent.waiting.is_empty() {
            lines.push("  nothing to do".to_owned());
        }
        lines.extend(intent.traffic.iter().map(|path| format!("  {}", by(path))));
        lines.extend(intent.note.iter().map(|note| format!("  note: {note}")));
        lines.extend(intent.warning.iter().map(|warning| format!("  warning: {warning}")));
        lines.extend(intent.hint.iter().map(|hint| format!("  hint: {hint}")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::valid;

    #[test]
    fn one_is_not_many() {
        assert_eq!(valid(1, 1), "1 service in 1 file is valid");
        assert_eq!(valid(2, 1), "2 services in 1 file are valid");
        assert_eq!(valid(0, 3), "0 services in 3 files are valid");
    }
}
