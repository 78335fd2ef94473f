//! The program `dreamframe`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    dreamframe_server::cli::main()
}
