//! A side as the comparison sees it: a process of its own that is stopped except in its turns.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{self, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::case::{Case, Part};
use crate::figure::{Figure, Peer};
use crate::options::{Library, Options, SideOptions};
use crate::rounds::{Side, Turn};
use crate::side::{Ready, Times};
use crate::stats::Spread;
use crate::{Result, system};

/// The interpreter that has the peers' libraries; `cargo xtask peers` sets it.
const PYTHON: &str = "DREAMFRAME_PEERS_PYTHON";

/// The number of passes of a turn is chosen for a fixed duration, so that short networks are warm for most of it.
const TURN_MS: f64 = 300.0;
const MOST_PASSES: f64 = 20.0;

/// A running side.
#[derive(Debug)]
pub(crate) struct Child {
    name: &'static str,
    process: process::Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    passes: u32,
    pub(crate) ready: Ready,
    /// From the start of the process to the end of its first pass.
    pub(crate) first_result: Duration,
}

/// Starts both sides of `figure`, ours first. What a peer needs converted is converted before, by a process of its own.
///
/// # Errors
///
/// Where a side cannot be started, or fails at its first passes.
pub(crate) fn both(figure: &Figure, options: &Options) -> Result<[Child; 2]> {
    let Figure { case, peer, .. } = figure;
    let of = |library, case, runs| -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(SideOptions::words(library, case, runs));
        Ok(command)
    };
    let single = Case { rows: 1, ..*case };
    let mut theirs = match peer {
        Peer::Torch | Peer::Openvino | Peer::Onnxruntime => {
            let mut prepare = python(figure, &options.cache)?;
            let status = prepare.arg("--prepare").status().map_err(|error| cannot_start(&prepare, &error))?;
            if !status.success() {
                return Err(format!("{peer} could not convert the network ({status})").into());
            }
            python(figure, &options.cache)?
        }
        Peer::Candle => of(Library::Candle, case, 1)?,
        Peer::Single => of(Library::Dreamframe, &single, case.rows)?,
    };
    let ours = Child::start("ours", &mut of(Library::Dreamframe, case, 1)?)?;
    Ok([ours, Child::start("the peer", &mut theirs)?])
}

/// A side in Python.
fn python(figure: &Figure, cache: &Path) -> Result<Command> {
    let python = std::env::var_os(PYTHON).ok_or_else(|| {
        format!("{PYTHON}: missing, expected the path of a Python with the peers' libraries; cargo xtask peers sets it")
    })?;
    let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("side.py");
    let case = &figure.case;
    let mut command = Command::new(python);
    command.arg(script).args(["--backend", &figure.peer.to_string(), "--dtype", &case.dtype.to_string()]);
    for part in case.model.parts {
        command.args([
            "--part",
            match part {
                Part::Unet => "unet",
                Part::Encoder => "encoder",
                Part::Decoder => "decoder",
            },
        ]);
    }
    command.args(["--name", case.model.name, "--config", case.model.config]);
    command.args(["--size", &case.size.to_string(), "--rows", &case.rows.to_string()]);
    command.args(["--threads", &case.threads.to_string()]).arg("--cache").arg(cache);
    Ok(command)
}

fn cannot_start(command: &Command, error: &std::io::Error) -> String {
    format!("{}: {error}", command.get_program().to_string_lossy())
}

impl Child {
    /// Starts a side, waits for its first pass, and stops it. `name` is what messages call it.
    ///
    /// # Errors
    ///
    /// Where it cannot be started, ends, or answers something else than the protocol's.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let start = Instant::now();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(|error| cannot_start(command, &error))?;
        let (commands, answers) = (process.stdin.take(), process.stdout.take());
        let (Some(commands), Some(answers)) = (commands, answers) else { return Err("no pipes".into()) };
        let ready = Ready::default();
        let answers = BufReader::new(answers);
        let mut child = Self { name, process, commands, answers, passes: 1, ready, first_result: Duration::ZERO };
        child.ready = child.answer()?;
        child.first_result = start.elapsed();
        let warm = child.run()?;
        child.passes = (TURN_MS / warm).ceil().clamp(1.0, MOST_PASSES) as u32;
        system::pause(&child.process)?;
        Ok(child)
    }

    /// The maximum number of memory that it had so far, in MiB.
    ///
    /// # Errors
    ///
    /// Where it has ended.
    pub(crate) fn peak_memory_mb(&self) -> Result<u64> {
        system::peak_memory_mb(&self.process)
    }

    /// The median of some passes, in milliseconds.
    fn run(&mut self) -> Result<f64> {
        let name = self.name;
        writeln!(self.commands, "run {}", self.passes).map_err(|error| format!("{name} takes no commands: {error}"))?;
        let times: Times = self.answer()?;
        let spread = Spread::of(times.ms).filter(|spread| spread.min > 0.0);
        Ok(spread.ok_or_else(|| format!("{name} timed nothing"))?.median)
    }

    fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let name = self.name;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(format!("{name} ended ({}); its own message stands above", self.process.wait()?).into());
        }
        Ok(serde_json::from_str(&line).map_err(|error| format!("{name} answered {line:?}: {error}"))?)
    }
}

impl Side for Child {
    fn turn(&mut self) -> Result<Turn> {
        let before = system::core_ms(&self.process)?;
        system::resume(&self.process)?;
        let ms = self.run()?;
        system::pause(&self.process)?;
        Ok(Turn { ms, core_ms: (system::core_ms(&self.process)? - before) / f64::from(self.passes) })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn fake(script: &str) -> Result<Child> {
        Child::start("the fake", Command::new("sh").args(["-c", script]))
    }

    /// The letter that the system has for what a process does.
    fn state(child: &Child) -> String {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.process.id())).unwrap();
        stat.rsplit(") ").next().unwrap()[..1].to_owned()
    }

    #[test]
    fn a_side_answers_in_its_turns_and_is_stopped_between_them() {
        let mut child =
            fake(r#"echo '{"about": "fake"}'; while read run count; do echo "{\"ms\": [9, $count, 7]}"; done"#)
                .unwrap();
        assert_eq!(child.ready.about, "fake");
        assert_eq!(state(&child), "T");
        // Its first pass took 7 ms, so a turn has as many passes as a turn may have.
        assert_eq!(child.passes, 20);
        let turn = child.turn().unwrap();
        assert_eq!(turn.ms, 9.0);
        assert!((0.0..1000.0).contains(&turn.core_ms), "{turn:?}");
        assert_eq!(state(&child), "T");
        assert!(child.peak_memory_mb().unwrap() < 1000);
    }

    #[test]
    fn failing_side_reports_its_error() {
        let refused = |script| fake(script).unwrap_err().to_string();
        assert_eq!(refused("exit 3"), "the fake ended (exit status: 3); its own message stands above");
        assert!(refused("echo loading; read run").starts_with("the fake answered \"loading\\n\": "));
        let timed_nothing = refused(r#"echo '{"about": ""}'; read run; echo '{"ms": []}'; read run"#);
        assert_eq!(timed_nothing, "the fake timed nothing");
        let gone = Child::start("the fake", &mut Command::new("no-such-program")).unwrap_err();
        assert!(gone.to_string().starts_with("no-such-program: "), "{gone}");
    }
}
