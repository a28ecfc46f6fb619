//! The `train` stage program.

use std::process::ExitCode;

fn main() -> ExitCode {
    resect_stage::main("train", env!("RESECT_IDENTITY"), |job, report| {
        let inputs = resect_train::Inputs {
            embeddings: job.optional_input("embeddings"),
            images: job.optional_input("images"),
            targets: job.input("targets")?,
            base: job.input("base")?,
            adapter: None,
        };
        resect_train::run(
            job.device,
            &inputs,
            &job.params,
            &job.runtime,
            &job.output("checkpoint")?,
            &job.state()?,
            report,
        )?;
        Ok(())
    })
}
