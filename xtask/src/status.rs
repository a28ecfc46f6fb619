//! `cargo xtask status` and `run --dry-run`: what would run and why, with nothing run.

use crate::PipelineArgs;
use crate::plan::{self, Decision, Known, Plan, Shards, Step, Task};
use crate::run::Status;
use crate::show::{self, Screen};
use crate::sources::Source;
use clap::Args;
use resect_artifact::Outputs;
use resect_embed_params::Shard;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::ExitCode;

#[derive(Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
}

/// What would become of a step.
#[derive(Serialize)]
struct Outlook {
    name: &'static str,
    /// Where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    /// Where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<Shard>,
    status: Status,
    reason: String,
    key: Option<String>,
    artifacts: Outputs,
    #[serde(skip_serializing_if = "Option::is_none")]
    provenance: Option<Value>,
}

pub fn main(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let plans = Plan::all(&args.pipeline)?;
    print(&plans, &args.pipeline, &[], None, None, &Screen::new(args.pipeline.json))
}

/// Prints the outlook for every step up to `last`, of every run that a matrix makes. What several runs share has one line.
pub fn print(
    plans: &[Plan],
    args: &PipelineArgs,
    force: &[Step],
    last: Option<Step>,
    shards: Option<Shards>,
    screen: &Screen,
) -> anyhow::Result<ExitCode> {
    let of_each = plans.iter().map(|plan| outlooks(plan, force, last, shards));
    let of_each: Vec<Vec<(Task, Outlook)>> = of_each.collect::<anyhow::Result<_>>()?;
    let all = || plans.iter().zip(&of_each).flat_map(|(plan, of)| of.iter().map(move |(t, o)| (plan, *t, o)));
    let mut said = BTreeSet::new();
    for (plan, task, outlook) in all().filter(|_| !args.json) {
        if outlook.key.as_ref().is_some_and(|key| !said.insert(key)) {
            continue;
        }
        let shares = |other: &Outlook| outlook.key.is_some() && other.key == outlook.key;
        let sharing = all().filter(|(_, _, other)| shares(other)).map(|(plan, task, _)| (plan, task));
        let label = if outlook.key.is_some() { plan::label(sharing) } else { plan.label(task) };
        let what = match outlook.status {
            Status::WouldRun => format!("would run: {}", outlook.reason),
            Status::Unknown => format!("may run: {}", outlook.reason),
            _ => outlook.reason.clone(),
        };
        screen.step(task.step, &plan::says(&label, &what), &outlook.artifacts, None);
    }
    let mut objects = Vec::new();
    for (plan, outlooks) in plans.iter().zip(&of_each) {
        let (sources, stages): (Vec<_>, Vec<_>) =
            outlooks.iter().partition(|(task, _)| task.step.is_source());
        let only = |list: Vec<&'_ (Task, Outlook)>| -> Vec<Value> {
            list.into_iter().map(|(_, outlook)| json!(outlook)).collect()
        };
        let mut object = json!({ "sources": only(sources), "stages": only(stages) });
        if let Some(variant) = &plan.variant {
            object["variant"] = variant.record();
        }
        objects.push(object);
    }
    if args.json {
        show::print(match objects.as_slice() {
            [one] if plans[0].variant.is_none() => serde_json::to_string_pretty(one)?,
            several => serde_json::to_string_pretty(several)?,
        });
    }
    Ok(ExitCode::SUCCESS)
}

fn outlooks(
    plan: &Plan,
    force: &[Step],
    last: Option<Step>,
    shards: Option<Shards>,
) -> anyhow::Result<Vec<(Task, Outlook)>> {
    let mut known = Known::new();
    let mut outlooks: Vec<(Task, Outlook)> = Vec::new();
    for task in plan.tasks(shards) {
        let step = task.step;
        if step > last.unwrap_or(Step::Evaluate) {
            continue;
        }
        if step == Step::Train {
            // That of another seed is another one.
            known.remove("checkpoint");
        }
        let missing = task.reads.iter().find(|kind| !known.contains_key(**kind));
        let mut outlook = Outlook {
            name: step.name(),
            seed: task.seed,
            shard: task.shard,
            status: Status::Unknown,
            reason: String::new(),
            key: None,
            artifacts: Outputs::new(),
            provenance: plan.sources.of(step).and_then(Source::provenance),
        };
        if let Some(kind) = missing {
            outlook.reason = format!("depends on the {kind} that a step before it would make");
        } else {
            let keyed = plan.key(task, &known)?;
            match plan.decide(task, &keyed, force.contains(&step), "") {
                Decision::Reuse(action) | Decision::Accept(action) => {
                    for kind in step.outputs().iter().filter(|_| task.shard.is_none()) {
                        known.extend(action.outputs.get(*kind).map(|id| (*kind, id.clone())));
                    }
                    outlook.status = Status::Reused;
                    outlook.reason = match &action.accepted {
                        None => "up to date".into(),
                        Some(accepted) => format!("up to date, accepted: {}", accepted.reason),
                    };
                    outlook.artifacts = action.outputs;
                }
                Decision::Run(reasons) => {
                    outlook.status = Status::WouldRun;
                    outlook.reason = reasons.join("\n");
                }
            }
            outlook.key = Some(keyed.key.to_string());
        }
        outlooks.push((task, outlook));
    }
    Ok(outlooks)
}
