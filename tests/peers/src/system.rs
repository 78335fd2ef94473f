//! Functions of the operating system: pin to cores, stop processes, read their memory. Linux only.

#[cfg(target_os = "linux")]
mod linux {
    use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, set_parent_process_death_signal, waitid};
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use crate::Result;

    /// Keeps this thread, with what it starts from now on, to the first `count` of its cores.
    ///
    /// # Errors
    ///
    /// If it may not use that many, or the system returns an error.
    pub(crate) fn keep_to_cores(count: usize) -> Result<()> {
        let allowed = sched_getaffinity(None)?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).take(count).collect();
        if cores.len() < count {
            return Err(format!("threads: got {count}, expected at most the {} cores", cores.len()).into());
        }
        let mut set = CpuSet::new();
        cores.into_iter().for_each(|core| set.set(core));
        Ok(sched_setaffinity(None, &set)?)
    }

    /// Ends this process when the one that started it ends, even while it is stopped.
    ///
    /// # Errors
    ///
    /// Where the system refuses.
    pub(crate) fn die_with_parent() -> Result<()> {
        Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
    }

    /// Stops a process that we started, so that it takes nothing of any core, and returns when it has stopped.
    ///
    /// # Errors
    ///
    /// Where the system refuses.
    pub(crate) fn pause(process: &std::process::Child) -> Result<()> {
        let process = Pid::from_child(process);
        kill_process(process, Signal::STOP)?;
        // One that has ended is left for who waits for it.
        waitid(WaitId::Pid(process), WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
        Ok(())
    }

    /// Lets a stopped process continue.
    ///
    /// # Errors
    ///
    /// Where it has ended.
    pub(crate) fn resume(process: &std::process::Child) -> Result<()> {
        Ok(kill_process(Pid::from_child(process), Signal::CONT)?)
    }

    /// How long all threads of a process were on a core so far, in milliseconds, to about ten.
    ///
    /// # Errors
    ///
    /// Where it has ended.
    pub(crate) fn core_ms(process: &std::process::Child) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id()))?;
        // The name may hold anything; from the state behind it on, user and system time are words 11 and 12.
        let (_, words) = stat.rsplit_once(") ").ok_or("no name in its stat")?;
        let ticks: Vec<u64> =
            words.split(' ').skip(11).take(2).map(str::parse).collect::<std::result::Result<_, _>>()?;
        Ok(ticks.iter().sum::<u64>() as f64 * 1e3 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// The maximum number of memory that a process had so far, in MiB; what it mapped of files among it.
    ///
    /// # Errors
    ///
    /// Where it has ended.
    pub(crate) fn peak_memory_mb(process: &std::process::Child) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: u64 = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM in its status")?.parse()?;
        Ok(kib / 1024)
    }
}

#[cfg(target_os = "linux")]
pub(crate) use linux::{core_ms, die_with_parent, keep_to_cores, pause, peak_memory_mb, resume};

#[cfg(not(target_os = "linux"))]
mod other {
    use crate::Result;

    const REFUSED: &str = "sides can be timed in turn on Linux only";

    pub(crate) fn keep_to_cores(_: usize) -> Result<()> {
        Err(REFUSED.into())
    }

    pub(crate) fn die_with_parent() -> Result<()> {
        Err(REFUSED.into())
    }

    pub(crate) fn pause(_: &std::process::Child) -> Result<()> {
        Err(REFUSED.into())
    }

    pub(crate) fn resume(_: &std::process::Child) -> Result<()> {
        Err(REFUSED.into())
    }

    pub(crate) fn core_ms(_: &std::process::Child) -> Result<f64> {
        Err(REFUSED.into())
    }

    pub(crate) fn peak_memory_mb(_: &std::process::Child) -> Result<u64> {
        Err(REFUSED.into())
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) use other::{core_ms, die_with_parent, keep_to_cores, pause, peak_memory_mb, resume};
