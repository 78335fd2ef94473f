//! Resources that a process uses, as reported by the system: on Linux.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;
use std::{env, fs, io};

/// How often the system's clock of processor time ticks, for programs on any machine.
const TICKS_PER_SECOND: u64 = 100;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process(PathBuf);

impl Process {
    /// Names this one.
    pub fn this() -> Self {
        Self("/proc/self".into())
    }

    /// Names the one with a number.
    pub fn of(number: u32) -> Self {
        Self(Path::new("/proc").join(number.to_string()))
    }

    /// Returns its resident memory in KiB.
    pub fn resident_kib(&self) -> Option<usize> {
        let status = fs::read_to_string(self.0.join("status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// Returns how long its thread of this name has waited for a core, while other threads ran; names are cut after 15
    /// bytes.
    pub fn delay_of(&self, name: &str) -> Option<Duration> {
        let threads = fs::read_dir(self.0.join("task")).ok()?.filter_map(|thread| Some(thread.ok()?.path()));
        let named = |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
        let times = fs::read_to_string(threads.into_iter().find(named)?.join("schedstat")).ok()?;
        Some(Duration::from_nanos(times.split_whitespace().nth(1)?.parse().ok()?))
    }

    /// Counts its open file descriptors, including the one used for counting; 0 if unknown.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(self.0.join("fd")).map_or(0, Iterator::count)
    }

    /// Counts its threads; 0 if unknown.
    pub fn threads(&self) -> usize {
        fs::read_dir(self.0.join("task")).map_or(0, Iterator::count)
    }
}

/// Runs this program again, with the same arguments, so that GNU's C library keeps all memory in one place; gives how that
/// has ended, or `None` in the program that runs so already, which continues.
///
/// Else some free memory stays in each of the places that threads use which come and go with connections, up to eight for
/// each core. That grows for as long as it takes until all are full, and what is in use is lost among it.
///
/// # Errors
///
/// Those of the system, where it cannot run the program again.
pub fn in_one_arena() -> io::Result<Option<ExitStatus>> {
    const ONE: &str = "MALLOC_ARENA_MAX";
    if env::var_os(ONE).is_some() {
        return Ok(None);
    }
    Command::new(env::current_exe()?).args(env::args_os().skip(1)).env(ONE, "1").status().map(Some)
}

/// Makes the allocator return unused memory to the system, if supported: it keeps much of it, most where many threads
/// come and go.
pub fn return_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[allow(unsafe_code, reason = "the C library's function")]
        // SAFETY: declared as the C library has it; it may be called at any time, on any thread.
        unsafe {
            unsafe extern "C" {
                fn malloc_trim(pad: usize) -> std::ffi::c_int;
            }
            malloc_trim(0);
        }
    }
}

/// Makes the program that `command` starts one that [`ask_to_end`] reaches, and it alone.
pub fn can_be_asked(command: &mut Command) -> &mut Command {
    #[cfg(windows)]
    std::os::windows::process::CommandExt::creation_flags(
        command,
        windows_sys::Win32::System::Threading::CREATE_NEW_PROCESS_GROUP,
    );
    command
}

/// Asks a program to end in good order: by the signal `signal`, such as `INT`, or by Ctrl-Break on Windows, where it
/// must have been started by a command that [can be asked](can_be_asked).
///
/// # Errors
///
/// Those of the system, where it cannot ask.
pub fn ask_to_end(program: &Child, signal: &str) -> io::Result<()> {
    #[cfg(windows)]
    let done = {
        use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent};

        let _ = signal;
        #[allow(unsafe_code, reason = "a function of the system")]
        // SAFETY: it takes numbers.
        let done = unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, program.id()) };
        done != 0
    };
    #[cfg(not(windows))]
    let done = Command::new("kill").arg(format!("-{signal}")).arg(program.id().to_string()).status()?.success();
    if done { Ok(()) } else { Err(io::Error::other(format!("process {}: cannot be asked to end", program.id()))) }
}

/// What the threads of this process have had of the processor, by their numbers.
#[derive(Debug, Clone, Default)]
pub struct ThreadTimes(BTreeMap<u32, (String, Duration)>);

impl ThreadTimes {
    /// Reads them; threads that have ended are not included.
    pub fn now() -> Self {
        let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let read = tasks.filter_map(|task| {
            let number = task.file_name().to_str()?.parse().ok()?;
            Some((number, parse(&fs::read_to_string(task.path().join("stat")).ok()?)?))
        });
        Self(read.collect())
    }

    /// Returns the ids of the threads that are not in `before` and whose names begin with `name`.
    pub fn new_since<'a>(&'a self, before: &'a Self, name: &'a str) -> impl Iterator<Item = u32> + 'a {
        let is_new = move |number: &u32, called: &str| !before.0.contains_key(number) && called.starts_with(name);
        self.0.iter().filter(move |(number, (called, _))| is_new(number, called)).map(|(number, _)| *number)
    }

    /// Sums up what some threads have had since `before`.
    pub fn sum_since(&self, before: &Self, threads: &[u32]) -> Duration {
        let time = |times: &Self, thread| times.0.get(thread).map_or(Duration::ZERO, |(_, time)| *time);
        threads.iter().map(|thread| time(self, thread).saturating_sub(time(before, thread))).sum()
    }
}

/// The name of a thread, of 15 characters at most, and its time in the program and in the system.
fn parse(stat: &str) -> Option<(String, Duration)> {
    // The name may hold anything, brackets too.
    let (start, rest) = stat.rsplit_once(") ")?;
    let (_, name) = start.split_once('(')?;
    let mut fields = rest.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    let ticks = fields.next()?? + fields.next()??;
    Some((name.to_owned(), Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)))
}
