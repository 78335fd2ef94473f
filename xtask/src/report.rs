//! Runs steps, measures them, and sums them up at the end.

use std::fmt::Write as _;
use std::fs::File;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Instant, SystemTime};

use crate::times::Cost;
use crate::tools::target;

/// Set in CI: a required step that cannot run on this machine fails the task.
const REQUIRE_TOOLS: &str = "DREAMFRAME_REQUIRE_TOOLS";

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// With the reason.
    Failed(String),
    /// With the reason, such as a program that this machine lacks.
    NotRun(String),
}

impl From<Result<(), String>> for Outcome {
    fn from(result: Result<(), String>) -> Self {
        result.map_or_else(Self::Failed, |()| Self::Passed)
    }
}

/// Whether a task may end without a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// In CI the task fails if the step does not run.
    Required,
    /// The step is not started when the time for optional steps is over.
    Optional,
}

/// One finished step.
#[derive(Debug)]
struct Line {
    name: String,
    need: Need,
    cost: Cost,
    outcome: Outcome,
}

/// The steps of a task so far.
#[derive(Debug)]
pub(crate) struct Report {
    started: Instant,
    /// When optional steps are no longer started.
    optional_until: Option<SystemTime>,
    /// Whether a required step that did not run fails the task.
    strict: bool,
    lines: Vec<Line>,
}

impl Report {
    pub(crate) fn new() -> Self {
        let strict = std::env::var_os(REQUIRE_TOOLS).is_some();
        Self { started: Instant::now(), optional_until: None, strict, lines: Vec::new() }
    }

    /// Starts no optional step after `time`.
    pub(crate) fn stop_optional_steps_at(&mut self, time: SystemTime) {
        self.optional_until = Some(time);
    }

    /// Runs a required step.
    pub(crate) fn step(&mut self, name: &str, step: impl FnOnce() -> Outcome) {
        self.run(name, Need::Required, step);
    }

    /// Runs `command` as a required step, which fails if the command does.
    pub(crate) fn command(&mut self, name: &str, command: &mut Command) {
        self.step(name, || run(command));
    }

    /// Runs `step` and records its outcome and what it cost.
    pub(crate) fn run(&mut self, name: &str, need: Need, step: impl FnOnce() -> Outcome) {
        eprintln!("── {name}");
        let start = Cost::now(self.started);
        let is_late = self.optional_until.is_some_and(|end| SystemTime::now() > end);
        let outcome = if need == Need::Optional && is_late {
            Outcome::NotRun("optional, and the time for optional steps is over".into())
        } else {
            step()
        };
        let cost = Cost::now(self.started).since(start);
        match &outcome {
            Outcome::Passed => eprintln!("   {name}: passed in {cost}"),
            Outcome::Failed(why) => eprintln!("   {name}: FAILED after {cost}\n   {why}"),
            Outcome::NotRun(why) => eprintln!("   {name}: not run: {why}"),
        }
        self.lines.push(Line { name: name.to_owned(), need, cost, outcome });
    }

    /// Returns what each step that passed cost.
    pub(crate) fn costs(&self) -> impl Iterator<Item = (&str, Cost)> {
        let passed = self.lines.iter().filter(|line| line.outcome == Outcome::Passed);
        passed.map(|line| (line.name.as_str(), line.cost))
    }

    /// Returns whether the task has failed so far.
    pub(crate) fn has_failed(&self) -> bool {
        self.lines.iter().any(|line| self.fails(line))
    }

    /// Prints the summary, and returns the exit code of the task.
    pub(crate) fn finish(self) -> ExitCode {
        eprintln!("{}", self.summary());
        if self.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    fn fails(&self, line: &Line) -> bool {
        match line.outcome {
            Outcome::Passed => false,
            Outcome::Failed(_) => true,
            Outcome::NotRun(_) => self.strict && line.need == Need::Required,
        }
    }

    fn summary(&self) -> String {
        let mut text = String::from("── summary (clock, processor)\n");
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        for line in &self.lines {
            let word = match &line.outcome {
                Outcome::Passed => {
                    passed += 1;
                    "passed".to_owned()
                }
                Outcome::Failed(why) => {
                    failed += 1;
                    format!("FAILED: {why}")
                }
                Outcome::NotRun(why) if self.fails(line) => {
                    failed += 1;
                    format!("FAILED: required, but not run: {why}")
                }
                Outcome::NotRun(why) => {
                    skipped += 1;
                    format!("not run: {why}")
                }
            };
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "   {:>18}  {}: {word}", line.cost.to_string(), line.name);
        }
        let _ = write!(
            text,
            "   {:>18}  all steps\n{passed} passed, {failed} failed, {skipped} skipped",
            Cost::now(self.started).to_string()
        );
        text
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

/// Returns the outcome of several commands: that of the first that does not pass.
pub(crate) fn run_each(commands: &mut [Command]) -> Outcome {
    commands.iter_mut().map(run).find(|outcome| *outcome != Outcome::Passed).unwrap_or(Outcome::Passed)
}

/// Runs `command` beside `first`, the commands of which run one after the other, and returns the first outcome that is not
/// a success. The output of `command` goes to the file `log` in the build folder, and is printed at its end.
pub(crate) fn run_beside(first: &mut [Command], command: &mut Command, log: &str) -> Outcome {
    let line = command_line(command);
    let path = target().join(log);
    let failed =
        |error: std::io::Error| Outcome::Failed(format!("{line}, with its output in {}: {error}", path.display()));
    let started = File::create(&path).and_then(|file| {
        let errors = file.try_clone()?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn()
    });
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return failed(error),
    };
    let first = run_all(first);
    let status = child.wait();
    eprintln!("   output of {line}:");
    if let Err(error) = File::open(&path).and_then(|mut file| std::io::copy(&mut file, &mut std::io::stderr())) {
        return failed(error);
    }
    match status {
        _ if first != Outcome::Passed => first,
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) => Outcome::Failed(format!("{line} ({status})")),
        Err(error) => failed(error),
    }
}

/// Runs all `commands`, also those after one that fails; returns the first outcome that is not a success.
fn run_all(commands: &mut [Command]) -> Outcome {
    let outcomes: Vec<Outcome> = commands.iter_mut().map(run).collect();
    outcomes.into_iter().find(|outcome| *outcome != Outcome::Passed).unwrap_or(Outcome::Passed)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn report(strict: bool) -> Report {
        Report { strict, ..Report::new() }
    }

    #[test]
    fn a_failing_command_is_named_and_fails_the_task() {
        let mut report = report(false);
        report.command("a step", Command::new("false").arg("--really").env("WITH", "this"));
        report.step("another", || Outcome::Passed);
        assert!(report.has_failed());
        let text = report.summary();
        assert!(text.contains("FAILED: WITH='this' false --really"), "{text}");
        assert!(text.contains("1 passed, 1 failed, 0 skipped"), "{text}");
    }

    #[test]
    fn a_required_step_that_cannot_run_fails_the_task_in_ci_alone() {
        for strict in [false, true] {
            let mut report = report(strict);
            report.step("a step", || Outcome::NotRun("no such tool".into()));
            assert_eq!(report.has_failed(), strict);
            let text = report.summary();
            assert!(text.contains("not run: no such tool"), "{text}");
        }
    }

    #[test]
    fn of_commands_side_by_side_each_runs_and_each_failure_counts() {
        let [mut good, mut bad] = [Command::new("true"), Command::new("false")];
        for (first, beside) in [(&mut good, "false"), (&mut bad, "true")] {
            std::fs::create_dir_all(target()).unwrap();
            let log = format!("side-by-side-{}-{beside}.log", std::process::id());
            let outcome = run_beside(std::slice::from_mut(first), &mut Command::new(beside), &log);
            assert!(matches!(&outcome, Outcome::Failed(why) if why.contains("false")), "{outcome:?}");
            std::fs::remove_file(target().join(log)).unwrap();
        }
        let log = format!("side-by-side-{}.log", std::process::id());
        assert_eq!(run_beside(&mut [Command::new("true")], &mut Command::new("true"), &log), Outcome::Passed);
        std::fs::remove_file(target().join(log)).unwrap();
    }

    #[test]
    fn only_optional_steps_are_left_out_when_their_time_is_over() {
        let mut report = report(true);
        report.stop_optional_steps_at(SystemTime::now() - Duration::from_secs(1));
        report.run("required", Need::Required, || Outcome::Passed);
        report.run("optional", Need::Optional, || Outcome::Failed("was started".into()));
        assert!(!report.has_failed());
        let text = report.summary();
        assert!(text.contains("optional: not run: optional"), "{text}");
        assert!(text.contains("1 passed, 0 failed, 1 skipped"), "{text}");
    }
}
