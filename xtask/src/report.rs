//! Runs and measures steps, and prints a summary.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use crate::times::Cost;
use crate::tools::target;

/// Set in CI: a required step that cannot run on this machine fails the task.
pub(crate) const REQUIRE_TOOLS: &str = "DREAMFRAME_REQUIRE_TOOLS";

/// The outcome of a step.
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

/// Whether a step may be skipped.
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

    /// Runs `step`, and records its outcome and cost.
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

    /// Returns the cost of each step that passed.
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

    /// Returns the `count` slowest steps as text, the slowest first.
    pub(crate) fn slowest(&self, count: usize) -> String {
        let mut lines: Vec<&Line> = self.lines.iter().collect();
        lines.sort_by_key(|line| Reverse(line.cost.clock));
        let mut text = String::from("── slowest steps (clock, processor)");
        for line in lines.iter().take(count) {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "\n   {:>18}  {}", line.cost.to_string(), line.name);
        }
        text
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

/// Runs `command` with inherited output; a failure has the command line.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let line = command_line(command);
    outcome(&line, command.status())
}

/// Returns the outcome of the command `line`, which ended with `status`.
fn outcome(line: &str, status: std::io::Result<ExitStatus>) -> Outcome {
    match status {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) => Outcome::Failed(format!("{line} ({status})")),
        Err(error) => Outcome::Failed(format!("{line} ({error})")),
    }
}

/// Returns the outcome of several commands: that of the first that does not pass.
pub(crate) fn run_each(commands: &mut [Command]) -> Outcome {
    commands.iter_mut().map(run).find(|outcome| *outcome != Outcome::Passed).unwrap_or(Outcome::Passed)
}

/// Commands that run one after the other in the background, with their output in a file.
#[derive(Debug)]
pub(crate) struct Background {
    log: PathBuf,
    thread: JoinHandle<Vec<Outcome>>,
}

impl Background {
    /// Starts the first of `commands`. Each runs, also after one that fails. Their output goes to the file `log` in the
    /// build folder.
    pub(crate) fn start(commands: Vec<Command>, log: &str) -> Self {
        let log = target().join(log);
        let output = File::create(&log);
        let run = move |mut command: Command| {
            let line = command_line(&command);
            let file = match &output {
                Ok(file) => file,
                Err(error) => return Outcome::Failed(format!("{line}, before its start: {error}")),
            };
            let status = file.try_clone().and_then(|mut output| {
                writeln!(output, "   output of {line}:")?;
                let errors = output.try_clone()?;
                command.stdin(Stdio::null()).stdout(output).stderr(errors).status()
            });
            outcome(&line, status)
        };
        Self { log, thread: std::thread::spawn(move || commands.into_iter().map(run).collect()) }
    }

    /// Waits for all commands, prints their output, and returns the outcome of each.
    pub(crate) fn finish(self) -> Vec<Outcome> {
        let outcomes = self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        if let Err(error) = File::open(&self.log).and_then(|mut file| std::io::copy(&mut file, &mut std::io::stderr()))
        {
            eprintln!("   {}: {error}", self.log.display());
        }
        outcomes
    }
}

/// Returns the first of `outcomes` that is not a success, if any.
pub(crate) fn first_failure(outcomes: Vec<Outcome>) -> Outcome {
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
    fn a_required_step_that_cannot_run_fails_the_task_only_in_ci() {
        for strict in [false, true] {
            let mut report = report(strict);
            report.step("a step", || Outcome::NotRun("no such tool".into()));
            assert_eq!(report.has_failed(), strict);
            let text = report.summary();
            assert!(text.contains("not run: no such tool"), "{text}");
        }
    }

    #[test]
    fn the_slowest_steps_are_listed_in_order() {
        let mut report = report(false);
        for (name, seconds) in [("quick", 1), ("slowest", 9), ("slow", 5)] {
            let cost = Cost { clock: Duration::from_secs(seconds), processor: None };
            report.lines.push(Line { name: name.into(), need: Need::Required, cost, outcome: Outcome::Passed });
        }
        let text = report.slowest(2);
        let names: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split_whitespace().last()).collect();
        assert_eq!(names, ["slowest", "slow"], "{text}");
    }

    #[test]
    fn parallel_commands_each_run_with_their_own_outcome() {
        std::fs::create_dir_all(target()).unwrap();
        let log = format!("background-{}.log", std::process::id());
        let mut words = Command::new("echo");
        words.arg("a word");
        let background = Background::start(vec![Command::new("false"), words, Command::new("no such program")], &log);
        let path = background.log.clone();
        let outcomes = background.finish();
        assert!(matches!(&outcomes[0], Outcome::Failed(why) if why.starts_with("false (")), "{outcomes:?}");
        assert_eq!(outcomes[1], Outcome::Passed);
        assert!(matches!(&outcomes[2], Outcome::Failed(why) if why.contains("no such program")), "{outcomes:?}");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("output of false:") && text.contains("output of echo a word:\na word\n"), "{text}");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn only_optional_steps_are_skipped_after_their_time() {
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
