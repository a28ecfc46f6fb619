//! `cargo xtask status` and `run --dry-run`: what would run and why, with nothing run.

use crate::PipelineArgs;
use crate::plan::{Decision, Known, Plan, Step, Task};
use crate::run::Status;
use crate::show::{self, Screen};
use crate::sources::Source;
use clap::Args;
use resect_artifact::Outputs;
use serde::Serialize;
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
    status: Status,
    reason: String,
    key: Option<String>,
    artifacts: Outputs,
    #[serde(skip_serializing_if = "Option::is_none")]
    provenance: Option<serde_json::Value>,
}

pub fn main(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let plan = Plan::new(&args.pipeline)?;
    print(&plan, &args.pipeline, &[], None, &Screen::new(args.pipeline.json))
}

/// Prints the outlook for every step up to `last`.
pub fn print(
    plan: &Plan,
    args: &PipelineArgs,
    force: &[Step],
    last: Option<Step>,
    screen: &Screen,
) -> anyhow::Result<ExitCode> {
    let mut known = Known::new();
    let mut outlooks: Vec<(Task, Outlook)> = Vec::new();
    for task in plan.tasks() {
        let step = task.step;
        if step > last.unwrap_or(Step::Evaluate) {
            continue;
        }
        if step == Step::Train {
            // That of another seed is another one.
            known.remove("checkpoint");
        }
        let missing = step.inputs().iter().find(|kind| !known.contains_key(**kind));
        let mut outlook = Outlook {
            name: step.name(),
            seed: task.seed,
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
                    for kind in step.outputs() {
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
        if !args.json {
            let what = match outlook.status {
                Status::WouldRun => format!("would run: {}", outlook.reason),
                Status::Unknown => format!("may run: {}", outlook.reason),
                _ => outlook.reason.clone(),
            };
            screen.step(step, &task.says(&what), &outlook.artifacts, None);
        }
        outlooks.push((task, outlook));
    }
    if args.json {
        let (sources, stages): (Vec<_>, Vec<_>) =
            outlooks.iter().partition(|(task, _)| task.step.is_source());
        let only = |list: Vec<&'_ (Task, Outlook)>| -> Vec<serde_json::Value> {
            list.into_iter().map(|(_, outlook)| serde_json::json!(outlook)).collect()
        };
        let object = serde_json::json!({ "sources": only(sources), "stages": only(stages) });
        show::print(serde_json::to_string_pretty(&object)?);
    }
    Ok(ExitCode::SUCCESS)
}
