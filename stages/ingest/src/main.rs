//! The `ingest` stage program.

use std::process::ExitCode;

fn main() -> ExitCode {
    resect_stage::main("ingest", env!("RESECT_IDENTITY"), |job, report| {
        resect_ingest::run(
            job.input("dataset")?,
            &job.params,
            &job.runtime,
            &job.output("images")?,
            &job.output("targets")?,
            report,
        )?;
        Ok(())
    })
}
