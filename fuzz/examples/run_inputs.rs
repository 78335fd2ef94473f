//! Runs the target named by the first argument with every file in the folders that follow (`cargo xtask fuzz --coverage`).

use std::error::Error;
use std::{env, fs};

use dreamframe_fuzz::TARGETS;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let Some((_, target)) = TARGETS.iter().find(|(target, _)| *target == name) else {
        return Err(format!("target: got {name:?}, expected a file name of fuzz/fuzz_targets").into());
    };
    for folder in arguments {
        for file in fs::read_dir(&folder).map_err(|error| format!("{folder}: {error}"))? {
            target(&fs::read(file?.path())?);
        }
    }
    Ok(())
}
