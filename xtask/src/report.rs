//! Steps that are timed, named when they fail, and summed up at the end.

use std::fmt::Write as _;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// With what to look at.
    Failed(String),
    /// This machine lacks something, named here; the task as a whole does not fail for it.
    NotRun(String),
}

/// The steps of a task so far.
#[derive(Debug)]
pub(crate) struct Report {
    started: Instant,
    steps: Vec<(String, Duration, Outcome)>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), steps: Vec::new() }
    }

    /// Runs `step` and keeps how it ended.
    pub(crate) fn step(&mut self, name: &str, step: impl FnOnce() -> Outcome) {
        eprintln!("── {name}");
        let started = Instant::now();
        let outcome = step();
        let took = started.elapsed();
        match &outcome {
            Outcome::Passed => eprintln!("   {name}: passed in {}", seconds(took)),
            Outcome::Failed(why) => eprintln!("   {name}: FAILED after {}\n   {why}", seconds(took)),
            Outcome::NotRun(why) => eprintln!("   {name}: not run: {why}"),
        }
        self.steps.push((name.to_owned(), took, outcome));
    }

    /// Runs `command` as a step; it fails where the command does.
    pub(crate) fn command(&mut self, name: &str, command: &mut Command) {
        self.step(name, || run(command));
    }

    /// Prints the summary; the exit code says whether any step failed.
    pub(crate) fn finish(self) -> ExitCode {
        let (text, failed) = self.summary();
        eprintln!("{text}");
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    fn summary(&self) -> (String, bool) {
        let mut text = String::from("── summary\n");
        let (mut passed, mut failed, mut not_run) = (0, 0, 0);
        for (name, took, outcome) in &self.steps {
            let word = match outcome {
                Outcome::Passed => {
                    passed += 1;
                    "passed".to_owned()
                }
                Outcome::Failed(why) => {
                    failed += 1;
                    format!("FAILED: {why}")
                }
                Outcome::NotRun(why) => {
                    not_run += 1;
                    format!("not run: {why}")
                }
            };
            let _ = writeln!(text, "   {:>8}  {name}: {word}", seconds(*took));
        }
        let total = seconds(self.started.elapsed());
        let _ = write!(text, "{passed} passed, {failed} failed, {not_run} not run, in {total}");
        (text, failed > 0)
    }
}

/// Runs `command` to its end with our own output; a failure names the command line.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let line = command_line(command);
    match command.status() {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) => Outcome::Failed(format!("{line} ({status})")),
        Err(error) => Outcome::Failed(format!("{line} ({error})")),
    }
}

fn command_line(command: &Command) -> String {
    let mut line = String::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            let _ = write!(line, "{}='{}' ", name.to_string_lossy(), value.to_string_lossy());
        }
    }
    let program = std::path::Path::new(command.get_program());
    line.push_str(&program.file_name().unwrap_or(command.get_program()).to_string_lossy());
    for argument in command.get_args() {
        let _ = write!(line, " {}", argument.to_string_lossy());
    }
    line
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named_and_fails_the_task() {
        let mut report = Report::new();
        report.command("a step", Command::new("false").arg("--really").env("WITH", "this"));
        report.step("another", || Outcome::Passed);
        let (text, failed) = report.summary();
        assert!(failed);
        assert!(text.contains("FAILED: WITH='this' false --really"), "{text}");
        assert!(text.contains("1 passed, 1 failed, 0 not run"), "{text}");
    }

    #[test]
    fn a_step_that_cannot_run_here_does_not_fail_the_task() {
        let mut report = Report::new();
        report.step("a step", || Outcome::NotRun("no such tool".into()));
        let (text, failed) = report.summary();
        assert!(!failed);
        assert!(text.contains("not run: no such tool"), "{text}");
    }
}
