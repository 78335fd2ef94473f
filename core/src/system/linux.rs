//! Linux: files of `/proc` and of control groups, and calls of rustix.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// The nice value of threads with a lower priority.
const NICE: i32 = 10;

pub(super) fn available_memory() -> Option<u64> {
    available_in(Path::new("/"))
}

pub(super) fn total_memory() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

pub(super) fn peak_memory() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

pub(super) fn processor_name() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

pub(super) fn this_core() -> Option<usize> {
    // Miri has no such function.
    (!cfg!(miri)).then(sched_getcpu)
}

/// Pins this thread to a core, if each of `threads` can have its own.
pub(super) fn place_computing_thread(index: usize, threads: usize, near: Option<usize>) -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    if cores.len() < threads {
        return Err(super::too_few_cores(cores.len(), threads));
    }
    let cores = cores_of_a_node(Path::new("/"), cores, threads, near);
    let Some(&core) = cores.get(index) else { return Err(super::too_few_cores(cores.len(), index + 1)) };
    let mut one = CpuSet::new();
    one.set(core);
    Ok(sched_setaffinity(None, &one)?)
}

/// Returns those of the cores `allowed` that are in one node of the memory, if `threads` threads fit there: in that of
/// the core `near`, otherwise in that with the most of them. Returns all if no node has as many. `root` is the root of
/// the file system.
fn cores_of_a_node(root: &Path, allowed: Vec<usize>, threads: usize, near: Option<usize>) -> Vec<usize> {
    let entries = fs::read_dir(root.join("sys/devices/system/node")).into_iter().flatten().flatten();
    let cores_of = |entry: fs::DirEntry| {
        let list = fs::read_to_string(entry.path().join("cpulist")).ok()?;
        let of_node = numbers(&list)?;
        Some(allowed.iter().copied().filter(|&core| of_node.iter().any(|range| range.contains(&core))).collect())
    };
    let nodes: Vec<Vec<usize>> = entries.filter_map(cores_of).filter(|node: &Vec<_>| node.len() >= threads).collect();
    // Of nodes with equally many cores the one with the first, whatever the order of the folder's entries.
    let rank = |node: &&Vec<usize>| {
        (near.is_some_and(|core| node.contains(&core)), node.len(), std::cmp::Reverse(node.first().copied()))
    };
    nodes.iter().max_by_key(rank).cloned().unwrap_or(allowed)
}

/// Parses a list of the form `0-3,8,10-11`.
fn numbers(list: &str) -> Option<Vec<RangeInclusive<usize>>> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.trim().split(',').filter(|part| !part.is_empty()).map(range).collect()
}

/// Only this thread's: Linux has a nice value for each.
pub(super) fn lower_priority() -> io::Result<()> {
    rustix::process::nice(NICE)?;
    Ok(())
}

/// Returns the bytes that can be allocated without swapping: the minimum for the machine, and for each control group of
/// this process. `root` is the root of the file system.
fn available_in(root: &Path) -> Option<u64> {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok();
    let machine = machine.and_then(|info| kibibytes(&info, "MemAvailable:"));
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let groups = groups.lines().filter_map(|line| group_room(&root.join("sys/fs/cgroup"), line));
    machine.into_iter().chain(groups).min()
}

/// The file names of a control group.
struct Names {
    limit: &'static str,
    used: &'static str,
    /// In the group's statistics: page cache that can be reclaimed.
    files: [&'static str; 2],
}

const VERSION_1: Names = Names {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    files: ["total_active_file", "total_inactive_file"],
};
const VERSION_2: Names = Names { limit: "memory.max", used: "memory.current", files: ["active_file", "inactive_file"] };

/// Returns the remaining memory of the control group in a line `number:controllers:path` of `/proc/self/cgroup`: the
/// minimum of its own and its ancestors'. In a container the path may be valid on the host only; the limit is then at
/// the root of the visible hierarchy.
fn group_room(mounted: &Path, line: &str) -> Option<u64> {
    let (_, line) = line.split_once(':')?;
    let (controllers, path) = line.split_once(':')?;
    let (base, names) = match controllers {
        "" => (mounted.to_owned(), &VERSION_2),
        _ if controllers.split(',').any(|name| name == "memory") => (mounted.join("memory"), &VERSION_1),
        _ => return None,
    };
    let group = Path::new(path.trim_start_matches('/'));
    group.ancestors().filter_map(|group| remaining(&base.join(group), names)).min()
}

/// Returns the remaining memory of a group's own limit, if it has one.
fn remaining(group: &Path, names: &Names) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    // `max` is not a number: no limit.
    let (limit, used) = (number(names.limit)?, number(names.used)?);
    let statistics = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let files = names.files.iter().filter_map(|name| field(&statistics, name)).fold(0, u64::saturating_add);
    Some(limit.saturating_sub(used.saturating_sub(files)))
}

/// Returns the bytes of the number after `name`, which is in KiB.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.checked_mul(1024)
}

/// Returns the number after `name` in lines of the form `name number`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:  9000 kB\nMemFree: 1 kB\nMemAvailable:   4000 kB\n");

    #[test]
    fn available_memory_is_known_on_this_machine() {
        assert_eq!(available_in(root(&[MACHINE]).path()), Some(4_096_000));
        assert_eq!(available_in(root(&[]).path()), None);
    }

    #[test]
    fn a_group_and_those_it_is_in_have_limits_too() {
        let group = "sys/fs/cgroup/user/session";
        let files = |own: &'static str, above: &'static str| {
            root(&[
                MACHINE,
                ("proc/self/cgroup", "0::/user/session\n"),
                (&format!("{group}/memory.max"), own),
                (&format!("{group}/memory.current"), "700\n"),
                (&format!("{group}/memory.stat"), "anon 400\nactive_file 200\ninactive_file 100\n"),
                ("sys/fs/cgroup/user/memory.max", above),
                ("sys/fs/cgroup/user/memory.current", "800\n"),
            ])
        };
        assert_eq!(available_in(files("1000\n", "max\n").path()), Some(600));
        assert_eq!(available_in(files("max\n", "900\n").path()), Some(100));
        assert_eq!(available_in(files("300\n", "max\n").path()), Some(0));
        assert_eq!(available_in(files("max\n", "max\n").path()), Some(4_096_000));
    }

    #[test]
    fn groups_of_version_1_and_of_a_container_are_found() {
        let found = root(&[
            MACHINE,
            ("proc/self/cgroup", "5:cpu:/x\n4:memory:/docker/abc\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "5000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "2000\n"),
            ("sys/fs/cgroup/memory/memory.stat", "total_active_file 10\ntotal_inactive_file 5\n"),
        ]);
        assert_eq!(available_in(found.path()), Some(3015));
    }

    #[test]
    fn numbers_of_proc_are_kibibytes() {
        assert_eq!(kibibytes("VmPeak:\t 4096 kB\nVmHWM:\t   2048 kB\n", "VmHWM:"), Some(2 << 20));
        assert_eq!(kibibytes("VmHWM:\t lots\n", "VmHWM:"), None);
    }

    #[test]
    fn threads_that_fit_into_a_node_get_the_cores_of_one() {
        let nodes = root(&[
            ("sys/devices/system/node/node0/cpulist", "0-3,8-11\n"),
            ("sys/devices/system/node/node1/cpulist", "4-7,12-15\n"),
            // Of memory without cores.
            ("sys/devices/system/node/node2/cpulist", "\n"),
            ("sys/devices/system/node/has_cpu", "0-1\n"),
        ]);
        let cores = |allowed: &[usize], threads, near| cores_of_a_node(nodes.path(), allowed.to_vec(), threads, near);
        let all: Vec<usize> = (0..16).collect();
        let (first, second) = ([0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]);
        assert_eq!(cores(&all, 8, Some(13)), second);
        assert_eq!(cores(&all, 2, Some(2)), first);
        assert_eq!(cores(&all, 2, None), first);
        // More threads than the node of `near` has, and than any has.
        assert_eq!(cores(&all[2..], 7, Some(2)), second);
        assert_eq!(cores(&all, 9, Some(0)), all);
        assert_eq!(cores(&[1, 4, 5], 2, Some(1)), [4, 5]);
        // Without nodes, or with a list that is not one.
        assert_eq!(cores_of_a_node(root(&[]).path(), all.clone(), 2, Some(1)), all);
        let unknown = root(&[("sys/devices/system/node/node0/cpulist", "0-x\n")]);
        assert_eq!(cores_of_a_node(unknown.path(), all.clone(), 2, Some(1)), all);
    }

    #[test]
    fn a_placed_thread_has_one_core() {
        let count = std::thread::spawn(|| {
            place_computing_thread(0, 1, this_core()).unwrap();
            sched_getaffinity(None).unwrap().count()
        });
        assert_eq!(count.join().unwrap(), 1);
    }
}
