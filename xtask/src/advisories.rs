//! Checks the lock file for crates with known vulnerabilities, unmaintained crates and yanked versions.
//!
//! The data is RustSec's and needs the network. An old commit may fail after it passed before, so this is not part of
//! the short run.

use std::process::Command;

use crate::check::CARGO_DENY;
use crate::report::{Outcome, run};

/// Fetches the advisories, and checks the lock file against them.
pub(crate) fn check() -> Outcome {
    let path = match CARGO_DENY.path() {
        Ok(path) => path,
        Err(why) => return Outcome::NotRun(why),
    };
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(&path);
        command.args(["--log-level", "error"]).args(arguments);
        command
    };
    // In two steps, since cargo-deny has the same exit code for missing data and for an advisory.
    fetched_then_checked(&mut deny(&["fetch", "db"]), &mut deny(&["check", "--disable-fetch", "advisories"]))
}

/// Without data the check cannot run; with data, it returns its result.
fn fetched_then_checked(fetch: &mut Command, check: &mut Command) -> Outcome {
    match run(fetch) {
        Outcome::Passed => run(check),
        Outcome::Failed(why) | Outcome::NotRun(why) => {
            Outcome::NotRun(format!("the advisories cannot be fetched, which needs the network: {why}"))
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn unavailable_advisories_are_skipped_and_an_advisory_fails() {
        let outcome =
            |fetch: &str, check: &str| fetched_then_checked(&mut Command::new(fetch), &mut Command::new(check));
        assert_eq!(outcome("true", "true"), Outcome::Passed);
        assert!(matches!(outcome("true", "false"), Outcome::Failed(_)));
        for fetch in ["false", "no-such-program-anywhere"] {
            for check in ["true", "false"] {
                let Outcome::NotRun(why) = outcome(fetch, check) else { panic!("{fetch} and {check}") };
                assert!(why.contains("cannot be fetched") && why.contains(fetch), "{why}");
            }
        }
    }
}
