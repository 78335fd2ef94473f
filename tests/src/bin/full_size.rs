//! Compares a full-size UNet with what diffusers made of it: `full_size FOLDER [EXECUTOR]`, where FOLDER was written by
//! `golden/generate/full_size.py`. Too large for the tests; run manually.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use dreamframe_tests::{Golden, executors, relative_error, run_unet};

fn main() -> std::io::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next() else {
        writeln!(std::io::stderr(), "usage: full_size FOLDER [EXECUTOR]")?;
        return Ok(ExitCode::from(2));
    };
    let wanted = arguments.next();
    let golden = Golden::folder(folder);
    let eps = golden.numbers("unet.eps");
    let executors = executors();
    if let Some(wanted) = wanted.as_ref().filter(|wanted| executors.iter().all(|(name, _)| name != *wanted)) {
        let names: Vec<_> = executors.iter().map(|(name, _)| &**name).collect();
        writeln!(std::io::stderr(), "executor: got {wanted:?}, expected one of {}", names.join(", "))?;
        return Ok(ExitCode::from(2));
    }
    for (name, executor) in executors {
        if wanted.as_ref().is_none_or(|wanted| *wanted == name) {
            let start = Instant::now();
            let got = run_unet(&golden, &*executor, golden.shape("unet.sample")[0], false);
            let (error, seconds) = (relative_error(&got, &eps), start.elapsed().as_secs_f32());
            writeln!(std::io::stdout(), "{name}: relative error {error:.2e}, {seconds:.1} s")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
