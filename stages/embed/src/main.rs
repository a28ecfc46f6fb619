//! The `embed` stage program.

use std::process::ExitCode;

fn main() -> ExitCode {
    resect_stage::main("embed", env!("RESECT_IDENTITY"), |job, report| {
        resect_embed::run(
            job.input("images")?,
            job.input("base")?,
            &job.params,
            &job.runtime,
            &job.output("embeddings")?,
            report,
        )?;
        Ok(())
    })
}
