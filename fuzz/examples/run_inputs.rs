//! Runs the target named by the first argument with every file in the folders that follow (`cargo xtask fuzz --coverage`).

use std::error::Error;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let target = dreamframe_fuzz::target(&name)?;
    for folder in arguments {
        for file in fs::read_dir(&folder).map_err(|error| format!("{folder}: {error}"))? {
            target(&fs::read(file?.path())?);
        }
    }
    Ok(())
}
