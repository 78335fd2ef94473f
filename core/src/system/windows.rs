//! Windows: calls of kernel32 and advapi32.

#![allow(unsafe_code, reason = "functions of the system, which are C")]

use std::ffi::OsString;
use std::io;
use std::os::windows::ffi::OsStringExt as _;
use std::{mem, ptr};

use windows_sys::Win32::Foundation::ERROR_SUCCESS;
use windows_sys::Win32::System::JobObjects::{
    JOB_OBJECT_LIMIT_JOB_MEMORY, JOB_OBJECT_LIMIT_PROCESS_MEMORY, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JobObjectExtendedLimitInformation, QueryInformationJobObject,
};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS_EX};
use windows_sys::Win32::System::Registry::{HKEY_LOCAL_MACHINE, RRF_RT_REG_SZ, RegGetValueW};
use windows_sys::Win32::System::SystemInformation::{
    GetLogicalProcessorInformationEx, GlobalMemoryStatusEx, LOGICAL_PROCESSOR_RELATIONSHIP, MEMORYSTATUSEX,
    PROCESSOR_RELATIONSHIP, RelationProcessorCore,
};
use windows_sys::Win32::System::Threading::{
    GetActiveProcessorGroupCount, GetCurrentProcess, GetCurrentThread, GetProcessAffinityMask, SetThreadAffinityMask,
    SetThreadPriority, THREAD_PRIORITY_BELOW_NORMAL,
};
use windows_sys::w;

/// The longest name of a processor, in UTF-16 units with the zero at the end.
const LONGEST_NAME: usize = 256;

/// The minimum for the machine, for what the system can commit, and for the job of this process.
pub(super) fn available_memory() -> Option<u64> {
    let machine = machine_memory().map(|status| status.ullAvailPhys.min(status.ullAvailPageFile));
    machine.into_iter().chain(job_room()).min()
}

pub(super) fn total_memory() -> Option<u64> {
    machine_memory().map(|status| status.ullTotalPhys)
}

pub(super) fn peak_memory() -> Option<u64> {
    process_memory().map(|counters| counters.PeakWorkingSetSize as u64)
}

fn machine_memory() -> Option<MEMORYSTATUSEX> {
    let mut status = MEMORYSTATUSEX { dwLength: size_of::<MEMORYSTATUSEX>() as u32, ..MEMORYSTATUSEX::default() };
    // SAFETY: the structure has the length that it states.
    let done = unsafe { GlobalMemoryStatusEx(&raw mut status) };
    (done != 0).then_some(status)
}

fn process_memory() -> Option<PROCESS_MEMORY_COUNTERS_EX> {
    let length = size_of::<PROCESS_MEMORY_COUNTERS_EX>() as u32;
    let mut counters = PROCESS_MEMORY_COUNTERS_EX { cb: length, ..PROCESS_MEMORY_COUNTERS_EX::default() };
    // SAFETY: the handle is always valid, and the longer structure may be given for the shorter one with its length.
    let done = unsafe { K32GetProcessMemoryInfo(GetCurrentProcess(), (&raw mut counters).cast(), length) };
    (done != 0).then_some(counters)
}

/// Returns what the limits of this process's job leave; `None` without a job or limits. Of the memory of a job with
/// several processes, only that of this process is known, so that the result may be too large.
fn job_room() -> Option<u64> {
    let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    // SAFETY: a null handle means the job of this process, and the structure has the length that is passed.
    let done = unsafe {
        QueryInformationJobObject(
            ptr::null_mut(),
            JobObjectExtendedLimitInformation,
            (&raw mut limits).cast(),
            size_of::<JOBOBJECT_EXTENDED_LIMIT_INFORMATION>() as u32,
            ptr::null_mut(),
        )
    };
    if done == 0 {
        return None;
    }
    let limit = least_limit(&limits)?;
    Some(limit.saturating_sub(process_memory()?.PrivateUsage as u64))
}

/// Returns the smaller of the limits that are in effect.
fn least_limit(limits: &JOBOBJECT_EXTENDED_LIMIT_INFORMATION) -> Option<u64> {
    let flags = limits.BasicLimitInformation.LimitFlags;
    let limit = |flag, bytes: usize| (flags & flag != 0).then_some(bytes as u64);
    let process = limit(JOB_OBJECT_LIMIT_PROCESS_MEMORY, limits.ProcessMemoryLimit);
    process.into_iter().chain(limit(JOB_OBJECT_LIMIT_JOB_MEMORY, limits.JobMemoryLimit)).min()
}

pub(super) fn processor_name() -> Option<String> {
    let mut name = [0_u16; LONGEST_NAME];
    let mut bytes = size_of_val(&name) as u32;
    // SAFETY: the texts end with zeros, and the buffer has the length that is passed.
    let status = unsafe {
        RegGetValueW(
            HKEY_LOCAL_MACHINE,
            w!(r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"),
            w!("ProcessorNameString"),
            RRF_RT_REG_SZ,
            ptr::null_mut(),
            name.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    let length = name.iter().position(|&unit| unit == 0)?;
    let name = OsString::from_wide(name.get(..length)?).to_string_lossy().trim().to_owned();
    (status == ERROR_SUCCESS && !name.is_empty()).then_some(name)
}

pub(super) fn this_core() -> Option<usize> {
    None
}

/// Pins this thread to a logical processor, if each of `threads` can have its own: those of fast cores first, and the
/// second one of a core last.
pub(super) fn place_computing_thread(index: usize, threads: usize, _near: Option<usize>) -> io::Result<()> {
    // SAFETY: without arguments.
    let groups = unsafe { GetActiveProcessorGroupCount() };
    if groups != 1 {
        // A mask has the processors of one group; the system distributes the threads over several.
        return Err(io::Error::other(format!("processor groups: got {groups}, expected 1")));
    }
    let (mut allowed, mut machine) = (0, 0);
    // SAFETY: the handle is always valid, and both results are on this stack.
    if unsafe { GetProcessAffinityMask(GetCurrentProcess(), &raw mut allowed, &raw mut machine) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let order = order(&cores()?, allowed);
    if order.len() < threads {
        return Err(super::too_few_cores(order.len(), threads));
    }
    let Some(&mask) = order.get(index) else { return Err(super::too_few_cores(order.len(), index + 1)) };
    // SAFETY: the handle is always valid.
    if unsafe { SetThreadAffinityMask(GetCurrentThread(), mask) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

pub(super) fn lower_priority() -> io::Result<()> {
    // SAFETY: the handle is always valid.
    if unsafe { SetThreadPriority(GetCurrentThread(), THREAD_PRIORITY_BELOW_NORMAL) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A core of the first processor group.
#[derive(Debug, Clone, Copy)]
struct Core {
    /// The larger, the faster the core.
    class: u8,
    /// A bit for each of its logical processors.
    mask: usize,
}

/// Returns the masks of the `allowed` logical processors in the order in which threads take them.
fn order(cores: &[Core], allowed: usize) -> Vec<usize> {
    let mut found = Vec::new();
    for core in cores {
        let bits = (0..usize::BITS).map(|bit| 1_usize << bit).filter(|bit| core.mask & allowed & bit != 0);
        found.extend(bits.enumerate().map(|(sibling, bit)| (sibling, std::cmp::Reverse(core.class), bit)));
    }
    found.sort_unstable();
    found.into_iter().map(|(_, _, bit)| bit).collect()
}

/// Returns the cores of the machine.
fn cores() -> io::Result<Vec<Core>> {
    let mut bytes = 0;
    // SAFETY: without a buffer, the function only reports the length that it needs.
    unsafe { GetLogicalProcessorInformationEx(RelationProcessorCore, ptr::null_mut(), &raw mut bytes) };
    // Words, for the alignment of the records.
    let mut records = vec![0_u64; (bytes as usize).div_ceil(size_of::<u64>())];
    bytes = size_of_val(records.as_slice()) as u32;
    // SAFETY: the buffer has the length that is passed.
    let done =
        unsafe { GetLogicalProcessorInformationEx(RelationProcessorCore, records.as_mut_ptr().cast(), &raw mut bytes) };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    let records: Vec<u8> = records.iter().flat_map(|word| word.to_ne_bytes()).take(bytes as usize).collect();
    Ok(parse(&records))
}

/// Returns the cores in `records`: each has its kind and its length before its contents.
fn parse(mut records: &[u8]) -> Vec<Core> {
    const HEADER: usize = size_of::<LOGICAL_PROCESSOR_RELATIONSHIP>() + size_of::<u32>();
    const CLASS: usize = HEADER + mem::offset_of!(PROCESSOR_RELATIONSHIP, EfficiencyClass);
    const MASK: usize = HEADER + mem::offset_of!(PROCESSOR_RELATIONSHIP, GroupMask);

    let mut cores = Vec::new();
    while let Some(length) = records.get(HEADER - size_of::<u32>()..).and_then(|rest| rest.first_chunk()) {
        let length = u32::from_ne_bytes(*length) as usize;
        let class = records.get(CLASS).copied();
        let mask = records.get(MASK..).and_then(|rest| rest.first_chunk()).map(|mask| usize::from_ne_bytes(*mask));
        let (Some(class), Some(mask)) = (class, mask) else { break };
        cores.push(Core { class, mask });
        let Some(rest) = records.get(length.max(HEADER)..) else { break };
        records = rest;
    }
    cores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_cores_come_first_and_second_processors_of_a_core_last() {
        let core = |class, mask| Core { class, mask };
        let cores = [core(0, 0b0001), core(1, 0b0110), core(0, 0b1000)];
        assert_eq!(order(&cores, usize::MAX), [0b0010, 0b0001, 0b1000, 0b0100]);
        assert_eq!(order(&cores, 0b1101), [0b0100, 0b0001, 0b1000]);
        assert!(order(&cores, 0).is_empty());
    }

    #[test]
    fn the_machine_s_cores_have_different_processors() {
        let cores = cores().unwrap();
        let all = cores.iter().fold(0, |all, core| {
            assert_eq!(all & core.mask, 0);
            all | core.mask
        });
        let threads = std::thread::available_parallelism().unwrap().get();
        assert!(all.count_ones() as usize >= threads, "{cores:?}, {threads} threads");
    }

    #[test]
    fn records_that_are_cut_off_are_left_out() {
        assert!(parse(&[]).is_empty() && parse(&[0; 8]).is_empty() && parse(&[0; 20]).is_empty());
        let mut record = vec![0; 48];
        record[4] = 48;
        record[9] = 2;
        record[32] = 0b11;
        let cores = parse(&[record.clone(), record[..40].to_vec()].concat());
        assert_eq!(cores.iter().map(|core| (core.class, core.mask)).collect::<Vec<_>>(), [(2, 0b11), (2, 0b11)]);
        assert_eq!(parse(&record[..39]).len(), 0);
    }

    #[test]
    fn a_placed_thread_has_one_processor() {
        let former = std::thread::spawn(|| {
            place_computing_thread(0, 1).unwrap();
            // SAFETY: the handle is always valid.
            unsafe { SetThreadAffinityMask(GetCurrentThread(), 1) }
        });
        assert_eq!(former.join().unwrap().count_ones(), 1);
    }

    #[test]
    fn limits_of_a_job_count_if_they_are_in_effect() {
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION {
            ProcessMemoryLimit: 7,
            JobMemoryLimit: 5,
            ..JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default()
        };
        assert_eq!(least_limit(&limits), None);
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_PROCESS_MEMORY;
        assert_eq!(least_limit(&limits), Some(7));
        limits.BasicLimitInformation.LimitFlags |= JOB_OBJECT_LIMIT_JOB_MEMORY;
        assert_eq!(least_limit(&limits), Some(5));
    }
}
