//! Operations on files that fail, of a program: `tests/c/file_faults.c`, on Linux.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::native::{is_full, root};

/// What happens to the n-th operation on a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails with `EIO`.
    Error,
    /// It fails with `EINTR`, once.
    Interrupted,
    /// Half of the bytes are read or written.
    Short,
    /// It and all later ones that write fail with `ENOSPC`.
    Full,
    /// The process is killed before it.
    Kill,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Error, Self::Interrupted, Self::Short, Self::Full, Self::Kill];

    /// Returns true if no program may notice it.
    pub fn is_harmless(self) -> bool {
        matches!(self, Self::Interrupted | Self::Short)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Interrupted => "interrupted",
            Self::Short => "short",
            Self::Full => "full",
            Self::Kill => "kill",
        }
    }
}

/// The library that lets operations fail.
#[derive(Debug)]
pub struct FaultLibrary(PathBuf);

impl FaultLibrary {
    /// Compiles it into `folder`.
    ///
    /// # Errors
    ///
    /// If there is no C compiler, or it fails.
    pub fn compile(folder: &Path) -> io::Result<Self> {
        let library = folder.join("file_faults.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&library);
        let status = compiler.arg(root().join("tests/c/file_faults.c")).status()?;
        if status.success() { Ok(Self(library)) } else { Err(io::Error::other(format!("cc: {status}"))) }
    }

    /// Lets operation `at` on files below `folder` fail in the program that `command` starts.
    pub fn inject(&self, command: &mut Command, folder: &Path, fault: Fault, at: usize) {
        self.set(command, folder);
        command.env("FILE_FAULTS_KIND", fault.name()).env("FILE_FAULTS_AT", at.to_string());
    }

    /// Lets everything that writes below `folder` fail with `ENOSPC` while `file` exists.
    pub fn fill_while(&self, command: &mut Command, folder: &Path, file: &Path) {
        self.set(command, folder);
        command.env("FILE_FAULTS_KIND", Fault::Full.name()).env("FILE_FAULTS_WHILE", file);
    }

    /// Appends a line to `log` for each operation below `folder`.
    pub fn log(&self, command: &mut Command, folder: &Path, log: &Path) {
        self.set(command, folder);
        command.env("FILE_FAULTS_LOG", log);
    }

    fn set(&self, command: &mut Command, folder: &Path) {
        command.env("LD_PRELOAD", OsStr::new(&self.0)).env("FILE_FAULTS_FOLDER", folder);
    }
}

/// Returns the number of operations in a log.
///
/// # Errors
///
/// Those of reading it.
pub fn operations(log: &Path) -> io::Result<usize> {
    Ok(fs::read_to_string(log)?.lines().count())
}

/// Returns faults at operations 1 to `count`: all with `DREAMFRAME_FULL`, otherwise `few` or as many as
/// `DREAMFRAME_FAULTS` says, evenly spread.
pub fn cases(count: usize, few: usize) -> impl Iterator<Item = (Fault, usize)> {
    let all = (1..=count).flat_map(|at| Fault::ALL.map(|fault| (fault, at)));
    let few = std::env::var("DREAMFRAME_FAULTS").ok().and_then(|number| number.parse().ok()).unwrap_or(few).max(1);
    // Not a multiple of the number of faults, so that all of them occur.
    let step = if is_full() { 1 } else { (count * Fault::ALL.len() / few).max(1) };
    all.step_by(if step.is_multiple_of(Fault::ALL.len()) { step + 1 } else { step })
}
