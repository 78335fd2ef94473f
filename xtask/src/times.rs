//! The costs of steps: measured, stored in the build folder, and recorded in `docs/ci.md`.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::tools::output;

/// The costs of the last run of each step in this checkout: name, clock and processor seconds, with tabs between.
const LAST_RUN: &str = "target/xtask/times.tsv";

/// The recorded costs, which are committed.
const RECORD: &str = "docs/ci.md";

/// The number of clock ticks per second in Linux's `/proc`.
const TICKS_PER_SECOND: u64 = 100;

/// The elapsed time, and the CPU time of all processes that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cost {
    pub(crate) clock: Duration,
    /// `None` if the system does not report it.
    pub(crate) processor: Option<Duration>,
}

impl Cost {
    /// Returns the cost of this process and of its ended children since `started`.
    pub(crate) fn now(started: Instant) -> Self {
        let stat = fs::read_to_string("/proc/self/stat").ok();
        Self { clock: started.elapsed(), processor: stat.and_then(|stat| processor_time(&stat)) }
    }

    /// Returns the difference to an earlier cost.
    pub(crate) fn since(self, earlier: Self) -> Self {
        let processor = self.processor.zip(earlier.processor).map(|(now, then)| now.saturating_sub(then));
        Self { clock: self.clock.saturating_sub(earlier.clock), processor }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.processor {
            Some(processor) => write!(f, "{:.1} s, {:.1} s", self.clock.as_secs_f64(), processor.as_secs_f64()),
            None => write!(f, "{:.1} s", self.clock.as_secs_f64()),
        }
    }
}

/// Returns the sum of user and system time of a process and of its ended children, from `/proc/self/stat`.
fn processor_time(stat: &str) -> Option<Duration> {
    // The second field is the program's name in brackets, which may contain spaces.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    let ticks: u64 = [fields.next()??, fields.next()??, fields.next()??, fields.next()??].iter().sum();
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// The costs of steps, by name.
pub(crate) type Times = BTreeMap<String, Cost>;

/// Returns the costs of the last run in this checkout, or if there are none, the recorded ones.
pub(crate) fn last() -> Times {
    let rows = fs::read_to_string(RECORD).map(|text| recorded(&text)).unwrap_or_default();
    let mut times: Times = rows.into_iter().map(|row| (row.name, row.cost)).collect();
    times.extend(fs::read_to_string(LAST_RUN).map(|text| parse(&text)).unwrap_or_default());
    times
}

/// Stores the costs of steps for [`last`]; costs of other steps are unchanged.
///
/// # Errors
///
/// Those of the file system.
pub(crate) fn keep<'a>(costs: impl Iterator<Item = (&'a str, Cost)>) -> Result<(), String> {
    let mut times = fs::read_to_string(LAST_RUN).map(|text| parse(&text)).unwrap_or_default();
    times.extend(costs.map(|(name, cost)| (name.to_owned(), cost)));
    let mut text = String::new();
    for (name, cost) in times {
        let processor = cost.processor.map_or_else(String::new, |time| format!("{:.1}", time.as_secs_f64()));
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{name}\t{:.1}\t{processor}", cost.clock.as_secs_f64());
    }
    let folder = Path::new(LAST_RUN).parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).and_then(|()| fs::write(LAST_RUN, text)).map_err(|error| format!("{LAST_RUN}: {error}"))
}

fn parse(text: &str) -> Times {
    text.lines().filter_map(|line| row(&line.split('\t').collect::<Vec<_>>())).collect()
}

fn row(cells: &[&str]) -> Option<(String, Cost)> {
    let [name, clock, processor] = cells else { return None };
    let seconds = |cell: &str| cell.trim().parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Some(((*name).to_owned(), Cost { clock: seconds(clock)?, processor: seconds(processor) }))
}

/// A row of a table in `docs/ci.md`: `| step | clock | processor | passed |`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recorded {
    pub(crate) name: String,
    cost: Cost,
    /// The date, the commit and the CPU of the run.
    passed: String,
}

/// Returns the rows of all tables in the text of `docs/ci.md`.
pub(crate) fn recorded(text: &str) -> Vec<Recorded> {
    let cells = |line: &str| Some(line.strip_prefix("| ")?.strip_suffix(" |")?.to_owned());
    let parse = |line: String| {
        let cells: Vec<&str> = line.split(" | ").collect();
        let (passed, cost) = cells.split_last()?;
        let (name, cost) = row(cost)?;
        Some(Recorded { name, cost, passed: (*passed).to_owned() })
    };
    text.lines().filter_map(cells).filter_map(parse).collect()
}

/// Writes the costs of steps that passed to `docs/ci.md`, whose other rows stay. `sections` names the steps of each
/// table in their order.
///
/// # Errors
///
/// Those of the file system, and the section that the page lacks.
pub(crate) fn record<'a>(
    sections: &[(&str, Vec<&str>)],
    costs: impl Iterator<Item = (&'a str, Cost)>,
) -> Result<(), String> {
    let mut text = fs::read_to_string(RECORD).map_err(|error| format!("{RECORD}: {error}"))?;
    let place = place()?;
    let mut rows: BTreeMap<String, Recorded> = recorded(&text).into_iter().map(|row| (row.name.clone(), row)).collect();
    for (name, cost) in costs {
        rows.insert(name.to_owned(), Recorded { name: name.to_owned(), cost, passed: place.clone() });
    }
    for (section, names) in sections {
        let table = table(names.iter().filter_map(|name| rows.get(*name)));
        text = with_section(&text, section, &table).ok_or_else(|| format!("{RECORD}: no section {section:?}"))?;
    }
    fs::write(RECORD, text).map_err(|error| format!("{RECORD}: {error}"))
}

/// Formats the rows as a table with their sums; empty without rows.
fn table<'a>(rows: impl Iterator<Item = &'a Recorded>) -> String {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return String::new();
    }
    let mut text = String::from("| step | clock, s | processor, s | passed |\n|---|---|---|---|\n");
    let (mut clock, mut processor) = (Duration::ZERO, Duration::ZERO);
    for row in rows {
        let seconds = row.cost.processor.map_or_else(|| "–".to_owned(), |time| format!("{:.0}", time.as_secs_f64()));
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "| {} | {:.0} | {seconds} | {} |", row.name, row.cost.clock.as_secs_f64(), row.passed);
        clock += row.cost.clock;
        processor += row.cost.processor.unwrap_or_default();
    }
    let _ = writeln!(text, "| **together** | {:.0} | {:.0} | |", clock.as_secs_f64(), processor.as_secs_f64());
    text
}

/// Replaces the text between the two marks of `section`.
fn with_section(text: &str, section: &str, content: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {section} -->\n"), format!("<!-- end of {section} -->"));
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{content}{end}{after}"))
}

/// Returns today's date (UTC), such as `2026-01-31`.
///
/// # Errors
///
/// If the program `date` fails.
pub(crate) fn today() -> Result<String, String> {
    Ok(output(Command::new("date").args(["-u", "+%F"]))?.trim().to_owned())
}

/// Returns the date, the commit and the processor of this run.
fn place() -> Result<String, String> {
    let date = today()?;
    let commit = output(Command::new("git").args(["rev-parse", "--short", "HEAD"]))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
        Some(line.split_once(':')?.1.trim())
    };
    let model = field("model name").unwrap_or("a processor without a name");
    let family = field("cpu family").zip(field("model")).map(|(f, m)| format!(" (family {f}, model {m})"));
    Ok(format!("{}, {}, {cores} cores of {model}{}", date, commit.trim(), family.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_any_program_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 100 200 0 0 150 50 700 100 20 0 1 0 5 6 7";
        assert_eq!(processor_time(stat), Some(Duration::from_secs(10)));
        assert_eq!(processor_time("7 (a) S 1"), None);
    }

    #[test]
    fn the_rows_of_a_table_are_read_again_and_other_lines_are_not() {
        let cost = |clock, processor: Option<u64>| Cost {
            clock: Duration::from_secs(clock),
            processor: processor.map(Duration::from_secs),
        };
        let rows = [("lints: core", cost(12, Some(30))), ("odd", cost(5, None))].map(|(name, cost)| Recorded {
            name: name.into(),
            cost,
            passed: "today, here".into(),
        });
        let text = format!("# Title\n\n| a | b |\n\n{}", table(rows.iter()));
        assert_eq!(recorded(&text), rows);
        assert!(text.contains("| **together** | 17 | 30 | |"), "{text}");
        assert_eq!(table([].iter()), "");
    }

    #[test]
    fn a_section_is_replaced_and_all_else_stays() {
        let text = "a\n<!-- quick -->\nold\n<!-- end of quick -->\nb\n";
        assert_eq!(with_section(text, "quick", "new\n").unwrap(), "a\n<!-- quick -->\nnew\n<!-- end of quick -->\nb\n");
        assert_eq!(with_section(text, "full", ""), None);
    }
}
