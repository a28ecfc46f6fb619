//! `cargo xtask why STAGE`: which fields make a stage run now.

use crate::PipelineArgs;
use crate::plan::{Decision, Known, Plan, Step};
use crate::show;
use clap::Args;
use std::process::ExitCode;

#[derive(Args)]
pub struct WhyArgs {
    /// ingest, embed, train or evaluate.
    stage: Step,
    #[command(flatten)]
    pipeline: PipelineArgs,
}

pub fn main(args: &WhyArgs) -> anyhow::Result<ExitCode> {
    let plan = Plan::new(&args.pipeline)?;
    let mut known = Known::new();
    for step in Step::ALL {
        let waits_for: Vec<&str> =
            step.inputs().iter().copied().filter(|kind| !known.contains_key(kind)).collect();
        if !waits_for.is_empty() {
            if step == args.stage {
                answer(
                    args,
                    "unknown",
                    &[format!("it depends on {} that would be made first", waits_for.join(" and "))],
                )?;
                break;
            }
            continue;
        }
        let keyed = plan.key(step, &known)?;
        match plan.decide(step, &keyed, false, "") {
            Decision::Reuse(action) | Decision::Accept(action) => {
                if step == args.stage {
                    let made = format!("run {} made it on {}", action.run, action.finished);
                    let line = match &action.accepted {
                        None => format!("nothing changed since {made}"),
                        Some(now) if now.run.is_empty() => format!("accepted: {}; {made}", now.reason),
                        Some(then) => format!("accepted in run {}: {}; {made}", then.run, then.reason),
                    };
                    answer(args, "reused", &[line])?;
                }
                for kind in step.outputs() {
                    known.extend(action.outputs.get(*kind).map(|id| (*kind, id.clone())));
                }
            }
            Decision::Run(mut reasons) => {
                if step == args.stage {
                    reasons.extend(
                        plan.could_accept(step, &keyed)
                            .map(|flags| format!("({flags} would reuse what is there)")),
                    );
                    answer(args, "would_run", &reasons)?;
                } else if step < args.stage && !args.pipeline.json {
                    show::print(format_args!("{} would run first: {}", step.name(), reasons.join("; ")));
                }
            }
        }
        if step == args.stage {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(args: &WhyArgs, status: &str, reasons: &[String]) -> anyhow::Result<()> {
    let name = args.stage.name();
    if args.pipeline.json {
        let object = serde_json::json!({ "stage": name, "status": status, "reasons": reasons });
        show::print(serde_json::to_string_pretty(&object)?);
        return Ok(());
    }
    match status {
        "reused" => show::print(format_args!("{name} would be reused: {}", reasons.join("; "))),
        "would_run" => show::print(format_args!("{name} would run:")),
        _ => show::print(format_args!("{name} may run: {}", reasons.join("; "))),
    }
    if status == "would_run" {
        for reason in reasons {
            show::print(format_args!("  {reason}"));
        }
    }
    Ok(())
}
