//! `cargo xtask why STAGE`: which fields make a stage run now.

use crate::PipelineArgs;
use crate::matrix::Variant;
use crate::plan::{Decision, Known, Plan, Step};
use crate::show;
use clap::Args;
use resect_artifact::Key;
use serde::Serialize;
use std::collections::BTreeSet;
use std::process::ExitCode;

#[derive(Args)]
pub struct WhyArgs {
    /// ingest, embed, train or evaluate.
    stage: Step,
    #[command(flatten)]
    pipeline: PipelineArgs,
}

/// What is said of the stage, or of its turn with one of several seeds.
#[derive(Serialize)]
struct Answer {
    stage: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    status: &'static str,
    reasons: Vec<String>,
}

pub fn main(args: &WhyArgs) -> anyhow::Result<ExitCode> {
    let plans = Plan::all(&args.pipeline)?;
    let (mut said, mut answers) = (BTreeSet::new(), Vec::new());
    for plan in &plans {
        answers.extend(of(plan, args.stage, args.pipeline.json, &mut said)?);
    }
    if args.pipeline.json {
        show::print(match answers.as_slice() {
            [one] => serde_json::to_string_pretty(one)?,
            several => serde_json::to_string_pretty(several)?,
        });
    } else {
        answers.iter().for_each(Answer::print);
    }
    Ok(ExitCode::SUCCESS)
}

/// What is to be said of a stage of one plan. Steps before it that would run are told on the way, each once.
fn of(plan: &Plan, stage: Step, json: bool, said: &mut BTreeSet<Key>) -> anyhow::Result<Vec<Answer>> {
    let mut known = Known::new();
    let mut answers = Vec::new();
    for task in plan.tasks(None) {
        let step = task.step;
        if step > stage {
            continue;
        }
        let mut answer = |status, reasons| {
            if step == stage {
                let variant = plan.variant.as_ref().map(Variant::label);
                answers.push(Answer { stage: step.name(), variant, seed: task.seed, status, reasons });
            }
        };
        let missing = |kind: &&str| !known.contains_key(kind);
        let waits_for: Vec<&str> = task.reads.iter().copied().filter(missing).collect();
        if !waits_for.is_empty() {
            let reason = format!("it depends on {} that would be made first", waits_for.join(" and "));
            answer("unknown", vec![reason]);
            continue;
        }
        let keyed = plan.key(task, &known)?;
        // What this step made with another seed is not what it makes with this one.
        step.outputs().iter().for_each(|kind| drop(known.remove(kind)));
        match plan.decide(task, &keyed, false, "") {
            Decision::Reuse(action) | Decision::Accept(action) => {
                let made = format!("run {} made it on {}", action.run, action.finished);
                let line = match &action.accepted {
                    None => format!("nothing changed since {made}"),
                    Some(now) if now.run.is_empty() => format!("accepted: {}; {made}", now.reason),
                    Some(then) => format!("accepted in run {}: {}; {made}", then.run, then.reason),
                };
                answer("reused", vec![line]);
                for kind in step.outputs() {
                    known.extend(action.outputs.get(*kind).map(|id| (*kind, id.clone())));
                }
            }
            Decision::Run(mut reasons) => {
                if step < stage && !json && said.insert(keyed.key.clone()) {
                    let reasons = plan.says(task, &reasons.join("; "));
                    show::print(format_args!("{} would run first: {reasons}", step.name()));
                }
                reasons.extend(
                    plan.could_accept(task, &keyed)
                        .map(|flags| format!("({flags} would reuse what is there)")),
                );
                answer("would_run", reasons);
            }
        }
    }
    Ok(answers)
}

impl Answer {
    fn print(&self) {
        let labels: Vec<String> =
            self.variant.iter().cloned().chain(self.seed.map(|seed| format!("seed {seed}"))).collect();
        let name = match labels.as_slice() {
            [] => self.stage.to_owned(),
            labels => format!("{}, {},", self.stage, labels.join(", ")),
        };
        let reasons = self.reasons.join("; ");
        match self.status {
            "reused" => show::print(format_args!("{name} would be reused: {reasons}")),
            "would_run" => {
                show::print(format_args!("{name} would run:"));
                self.reasons.iter().for_each(|reason| show::print(format_args!("  {reason}")));
            }
            _ => show::print(format_args!("{name} may run: {reasons}")),
        }
    }
}
