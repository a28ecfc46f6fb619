//! The `embed` stage program.

use std::process::ExitCode;

fn main() -> ExitCode {
    resect_stage::main("embed", env!("RESECT_IDENTITY"), |job, report| {
        let inputs = resect_embed::Inputs {
            images: job.input("images")?,
            base: job.input("base")?,
            hints: &job.hints,
        };
        resect_embed::run(
            job.device,
            &inputs,
            &job.params,
            &job.runtime,
            &job.output_so_far("embeddings")?,
            report,
        )?;
        Ok(())
    })
}
