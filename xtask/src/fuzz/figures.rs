//! What a run of a fuzz target did, from libFuzzer's output.

use std::path::Path;

use crate::times::Cost;

/// The columns of the table of runs.
pub(super) const HEADER: &str = "| Date | Commit | Target | Sanitizer | Seconds | Processor seconds | Inputs | Findings | Edges | Features | Corpus |";

/// The figures of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Whether the fuzzer started: before, the target is built.
    pub(super) has_started: bool,
    pub(super) cost: Cost,
    /// How many inputs were executed.
    pub(super) inputs: u64,
    /// How many inputs were written that crash, hang, leak, or need too much memory. libFuzzer ends at the first.
    pub(super) findings: u64,
    /// The covered edges of the control flow (`cov`).
    pub(super) edges: u64,
    /// The covered features: edges by the number of executions, and compared values (`ft`).
    pub(super) features: u64,
    /// How many inputs the corpus has (`corp`).
    pub(super) corpus: u64,
}

impl Figures {
    /// Reads one line of libFuzzer's standard error, with `-print_final_stats=1`.
    pub(super) fn read(&mut self, line: &str) {
        let line = line.trim_end();
        if line.starts_with("INFO: Seed: ") {
            self.has_started = true;
        } else if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            self.inputs = count.trim().parse().unwrap_or(self.inputs);
        } else if let Some((_, path)) = line.split_once("Test unit written to ") {
            // Slow inputs are reported, and are no failure.
            let is_slow = Path::new(path).file_name().is_some_and(|name| name.to_string_lossy().starts_with("slow-"));
            self.findings += u64::from(!is_slow);
        } else if self.has_started && line.starts_with('#') {
            self.read_progress(line);
        }
    }

    /// Reads a line such as `#8192 pulse  cov: 321 ft: 654 corp: 78/9Kb lim: 80 exec/s: 4096 rss: 50Mb`.
    fn read_progress(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        if let Some(count) = words.next().and_then(|word| word.strip_prefix('#')?.parse().ok()) {
            // A run that is killed has no final statistics.
            self.inputs = self.inputs.max(count);
        }
        while let Some(name) = words.next() {
            let place = match name {
                "cov:" => &mut self.edges,
                "ft:" => &mut self.features,
                "corp:" => &mut self.corpus,
                _ => continue,
            };
            // The corpus is `INPUTS/BYTES`.
            let count = words.next().and_then(|value| value.split('/').next());
            *place = count.and_then(|count| count.parse().ok()).unwrap_or(*place);
        }
    }

    /// Returns the row of the table.
    pub(super) fn row(&self, date: &str, commit: &str, target: &str, sanitizer: &str) -> String {
        let Self { has_started: _, cost, inputs, findings, edges, features, corpus } = self;
        let seconds = cost.clock.as_secs();
        let processor = cost.processor.map_or_else(|| "unknown".to_owned(), |time| time.as_secs().to_string());
        format!(
            "| {date} | {commit} | {target} | {sanitizer} | {seconds} | {processor} | {inputs} | {findings} | {edges} \
             | {features} | {corpus} |"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn figures(output: &str) -> Figures {
        let mut figures = Figures::default();
        output.lines().for_each(|line| figures.read(line));
        figures
    }

    #[test]
    fn figures_of_a_run_without_findings_are_those_of_its_last_lines() {
        let output = "\
   Compiling dreamframe-fuzz v0.0.0
INFO: Running with entropic power schedule (0xFF, 100).
INFO: Seed: 2178236441
INFO: Loaded 1 modules   (412345 inline 8-bit counters): 412345 [0x55d, 0x561),
#3	INITED cov: 210 ft: 215 corp: 2/90b exec/s: 0 rss: 61Mb
#512	NEW    cov: 301 ft: 420 corp: 31/2048b lim: 90 exec/s: 0 rss: 66Mb L: 80/90 MS: 1 ChangeBit-
#65536	pulse  cov: 345 ft: 512 corp: 40/3Kb lim: 600 exec/s: 32768 rss: 75Mb
#181920	DONE   cov: 346 ft: 514 corp: 41/3Kb lim: 1700 exec/s: 29820 rss: 88Mb
Done 181920 runs in 61 second(s)
stat::number_of_executed_units: 181921
stat::average_exec_per_sec:     2982
stat::new_units_added:          77
";
        let expected =
            Figures { has_started: true, inputs: 181_921, edges: 346, features: 514, corpus: 41, ..Figures::default() };
        assert_eq!(figures(output), expected);
    }

    #[test]
    fn inputs_that_fail_are_findings_and_slow_ones_are_not() {
        let output = "\
INFO: Seed: 1
#4096	pulse  cov: 9 ft: 10 corp: 3/40b lim: 4 exec/s: 2048 rss: 70Mb
Slowest unit: 11 s:
artifact_prefix='/x/fuzz/artifacts/sdp/'; Test unit written to /x/fuzz/artifacts/sdp/slow-unit-da39a3ee
thread '<unnamed>' panicked at fuzz/src/text.rs:9:5:
==71== ERROR: libFuzzer: deadly signal
artifact_prefix='/x/fuzz/artifacts/sdp/'; Test unit written to /x/fuzz/artifacts/sdp/crash-0123abcd
stat::number_of_executed_units: 5000
";
        let found = figures(output);
        assert_eq!((found.findings, found.inputs, found.edges), (1, 5000, 9));
        let killed = figures(output.split_once("Slowest").unwrap().0);
        assert_eq!((killed.findings, killed.inputs), (0, 4096));
    }

    #[test]
    fn output_of_a_failed_build_has_no_figures() {
        assert_eq!(figures("error[E0425]: cannot find value `x`\n#1 cov: 2\n"), Figures::default());
    }

    #[test]
    fn a_row_has_a_cell_for_each_column() {
        let cost = Cost { clock: Duration::from_secs(60), processor: None };
        let figures = Figures { cost, inputs: 7, edges: 5, features: 6, corpus: 4, ..Figures::default() };
        let row = figures.row("2026-01-31", "0123abc", "sdp", "none");
        assert_eq!(row, "| 2026-01-31 | 0123abc | sdp | none | 60 | unknown | 7 | 0 | 5 | 6 | 4 |");
        assert_eq!(row.matches('|').count(), HEADER.matches('|').count());
        let measured = Figures { cost: Cost { processor: Some(Duration::from_millis(58_900)), ..cost }, ..figures };
        assert!(measured.row("2026-01-31", "0123abc", "sdp", "address").contains("| address | 60 | 58 | 7 |"));
    }
}
