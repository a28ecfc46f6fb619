//! The `evaluate` stage program.

use std::process::ExitCode;

fn main() -> ExitCode {
    resect_stage::main("evaluate", env!("RESECT_IDENTITY"), |job, report| {
        let inputs = resect_evaluate::Inputs {
            checkpoint: job.input("checkpoint")?,
            images: job.input("images")?,
            embeddings: job.optional_input("embeddings"),
            targets: job.input("targets")?,
            base: job.input("base")?,
        };
        resect_evaluate::run(
            job.device,
            &inputs,
            &job.params,
            &job.runtime,
            &job.output("evaluation")?,
            &job.state()?,
            report,
        )?;
        Ok(())
    })
}
