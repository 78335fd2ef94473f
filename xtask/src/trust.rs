//! Long searches for faults, each bounded by a time; `docs/reliability.md` records what they found.

use crate::fuzz;
use crate::long::{self, program, test_program};
use crate::report::{Outcome, Report};
use crate::tools::{cargo, succeed, target};

/// How long each part runs unless `--minutes` says it.
const MINUTES: u32 = 10;
/// Scripts of network faults, and sessions, that take about a minute.
const SCRIPTS_A_MINUTE: u32 = 8;
const SESSIONS_A_MINUTE: u32 = 100;
/// Faults of each of six commands that take about a minute.
const FILE_FAULTS_A_MINUTE: u32 = 15;

/// A part, and how it is run for some minutes.
type Part = (&'static str, fn(u32) -> Outcome);

const PARTS: [Part; 7] = [
    ("updates", updates),
    ("memory", memory),
    ("device", device),
    ("files", files),
    ("network", network),
    ("soak", soak),
    ("fuzz", fuzz),
];

/// What is run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The part; all if there is none.
    part: Option<&'static str>,
    minutes: u32,
}

impl Wanted {
    /// Reads the name of a part, and `--minutes N`.
    ///
    /// # Errors
    ///
    /// If a number is missing or invalid, or a part or an option unknown.
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut wanted = Self { part: None, minutes: MINUTES };
        let mut arguments = arguments.iter();
        while let Some(&argument) = arguments.next() {
            if argument == "--minutes" {
                let minutes = arguments.next().copied().unwrap_or_default();
                let wrong = || format!("--minutes: got {minutes:?}, expected a whole number from 1");
                wanted.minutes = minutes.parse().ok().filter(|&minutes| minutes > 0).ok_or_else(wrong)?;
                continue;
            }
            let names = PARTS.map(|(name, _)| name);
            let part = names.into_iter().find(|name| *name == argument);
            wanted.part =
                Some(part.ok_or_else(|| format!("part: got {argument}, expected one of {}", names.join(", ")))?);
        }
        Ok(wanted)
    }
}

/// Runs the parts, each for the minutes.
pub(crate) fn run(report: &mut Report, wanted: &Wanted) {
    for (name, part) in PARTS.into_iter().filter(|(name, _)| wanted.part.is_none_or(|part| part == *name)) {
        report.step(name, || part(wanted.minutes));
    }
}

/// A million random updates, or as many as the time allows.
fn updates(minutes: u32) -> Outcome {
    succeed(test_program("updates").args(["--minutes", &minutes.to_string()])).into()
}

/// Every large allocation that fails; the time does not matter, since it takes less than a minute.
fn memory(_: u32) -> Outcome {
    full_test(&["allocation_failures"])
}

/// Every fault of the simulated device; the time does not matter, since it takes about eight minutes.
fn device(_: u32) -> Outcome {
    full_test(&["integration", "device_faults"])
}

/// Runs all combinations of a program of tests, or of those in it with a name.
fn full_test(test: &[&str]) -> Outcome {
    let mut cargo = cargo();
    cargo.args(["test", "--package", "dreamframe-tests", "--test"]).args(test).env("DREAMFRAME_FULL", "1");
    succeed(&mut cargo).into()
}

/// Operations on files that fail.
fn files(minutes: u32) -> Outcome {
    let faults = (FILE_FAULTS_A_MINUTE * minutes).to_string();
    let mut test = cargo();
    test.args(["test", "--package", "dreamframe-server", "--test", "file_faults"]).env("DREAMFRAME_FAULTS", faults);
    succeed(&mut test).into()
}

/// Scripts of network faults, then sessions that are opened and dropped.
fn network(minutes: u32) -> Outcome {
    let [scripts, sessions] = [SCRIPTS_A_MINUTE, SESSIONS_A_MINUTE].map(|number| (number * minutes).to_string());
    let faults = |server| {
        let arguments = ["--scripts", &scripts, "--sessions", &sessions, "--server"];
        succeed(test_program("network_faults").args(arguments).arg(server))
    };
    program().and_then(faults).into()
}

/// Streams that continue, in this run and those before, whose record is `soak.jsonl` in the folder.
fn soak(minutes: u32) -> Outcome {
    long::soak(minutes, Some(&target().join("xtask/soak")))
}

/// Every fuzz target for an equal part of the time.
fn fuzz(minutes: u32) -> Outcome {
    fuzz::run(&fuzz::Wanted::all_within(60 * minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_and_minutes_may_be_in_any_order() {
        let wanted = Wanted { part: Some("network"), minutes: 3 };
        assert_eq!(Wanted::parse(&["--minutes", "3", "network"]).unwrap(), wanted);
        assert_eq!(Wanted::parse(&["network", "--minutes", "3"]).unwrap(), wanted);
        assert_eq!(Wanted::parse(&[]).unwrap(), Wanted { part: None, minutes: MINUTES });
    }

    #[test]
    fn invalid_arguments_are_named() {
        let part = "part: got networks, expected one of updates, memory, device, files, network, soak, fuzz";
        assert_eq!(Wanted::parse(&["networks"]).unwrap_err(), part);
        for minutes in [&["--minutes"][..], &["--minutes", "0"], &["--minutes", "a"]] {
            assert!(Wanted::parse(minutes).unwrap_err().starts_with("--minutes: got "), "{minutes:?}");
        }
    }
}
