//! Streams that continue for long: for each a publisher, a viewer that stays, one that comes and goes, half the time without
//! closing its connection, and parameters that change all the while.
//!
//! ```text
//! cargo run --release -p dreamframe-tests --features transport --bin soak -- --server PROGRAM [--scale-out]
//!   [--minutes 60] [--interval SECONDS] [--streams 3] [--record FILE] [--commit TEXT] [--keep FOLDER]
//! cargo run --release -p dreamframe-tests --features transport --bin soak -- --record FILE --draw FILE.svg
//! ```
//!
//! The streams are those of one `dreamframe serve`, or, with `--scale-out`, of a gateway and two workers, whose Redis is
//! restarted once in each interval (of 600 seconds, or a sixth of the time if that is less). Publishers reconnect, sizes and
//! numbers of steps change, and the last stream is deleted and created again. Every second the memory, threads and
//! descriptors of each process are read; pictures have numbers, so that the latency of each is known.
//!
//! Each interval is printed, and added to the file of `--record` as a line of JSON. `--keep` keeps the state of the servers,
//! so that a further run with the same folder continues the streams of this one. `--draw` draws the recorded intervals, and
//! prints them as a table.
//!
//! It fails if, in any interval,
//! - the memory of a process is more than 16 MiB above that of the first interval, or more than 2 threads or 8 descriptors
//!   remain without guests than in the first;
//! - a stream pauses for more than 5 s, or for more than 2 s while Redis is down;
//! - a request fails, except for a lack of the registry while Redis is down and for at most 10 s after that;
//! - a stream reports an error or a restart of its session, a process ends, or streams of the run before are missing.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use dreamframe::{Error, ErrorKind, Result};
use dreamframe_tests::soak::{Interval, Options, read, run, svg, table};

const USAGE: &str = "usage: soak --server PROGRAM [--scale-out] [--minutes 60] [--interval SECONDS] [--streams 3] \
                     [--record FILE] [--commit TEXT] [--keep FOLDER]\n       soak --record FILE --draw FILE.svg";
/// The longest and the shortest interval, in seconds, unless the command line has it.
const INTERVAL: (u64, u64) = (600, 20);

/// What the command line says.
enum Wanted {
    Run(Options),
    Draw { record: PathBuf, svg: PathBuf },
}

fn main() -> Result<ExitCode> {
    match parse(std::env::args().skip(1)) {
        Some(Wanted::Run(options)) => {
            say(
                "piece interval   s | memory MiB, threads, descriptors | latency ms p50 p90 p99 max | longest pause ms",
            );
            let intervals = run(options, |interval| say(&line(interval)))?;
            let failures: usize = intervals.iter().map(|interval| interval.failures.len()).sum();
            say(&format!("{failures} failures"));
            Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Some(Wanted::Draw { record, svg: path }) => {
            let failed = |error| Error::new(ErrorKind::Io, "the record cannot be drawn").with_source(error);
            let intervals = read(&record).map_err(failed)?;
            fs::write(path, svg(&intervals)).map_err(failed)?;
            say(&table(&intervals));
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let _ = writeln!(io::stderr(), "{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Wanted> {
    let (mut minutes, mut interval, mut draw) = (60_u64, None, None);
    let mut options = Options {
        program: PathBuf::new(),
        scale_out: false,
        streams: 3,
        intervals: 0,
        interval_seconds: 0,
        commit: String::new(),
        record: None,
        keep: None,
    };
    while let Some(argument) = arguments.next() {
        if argument == "--scale-out" {
            options.scale_out = true;
            continue;
        }
        let value = arguments.next()?;
        match argument.as_str() {
            "--server" => options.program = value.into(),
            "--minutes" => minutes = value.parse().ok().filter(|&minutes| minutes > 0)?,
            "--interval" => interval = Some(value.parse().ok().filter(|&seconds| seconds >= INTERVAL.1)?),
            "--streams" => options.streams = value.parse().ok().filter(|&streams| streams > 0)?,
            "--record" => options.record = Some(value.into()),
            "--commit" => options.commit = value,
            "--keep" => options.keep = Some(value.into()),
            "--draw" => draw = Some(value.into()),
            _ => return None,
        }
    }
    if let Some(svg) = draw {
        return options.record.map(|record| Wanted::Draw { record, svg });
    }
    let seconds = minutes * 60;
    options.interval_seconds = interval.unwrap_or((seconds / 6).clamp(INTERVAL.1, INTERVAL.0));
    options.intervals = u32::try_from((seconds / options.interval_seconds).max(1)).ok()?;
    (options.program != PathBuf::new()).then_some(Wanted::Run(options))
}

/// An interval on a line, and its failures on further lines.
fn line(interval: &Interval) -> String {
    let usage = |(name, usage): (&String, &dreamframe_tests::soak::Usage)| {
        let (mib, threads, descriptors) = (usage.memory_kib.max as f64 / 1024.0, usage.threads, usage.descriptors);
        format!("{name} {mib:.1} {}-{} {}-{}", threads.min, threads.max, descriptors.min, descriptors.max)
    };
    let processes: Vec<_> = interval.processes.iter().map(usage).collect();
    let pauses: Vec<_> = interval.streams.iter().map(|stream| stream.longest_pause_ms.to_string()).collect();
    let pictures: usize = interval.streams.iter().map(|stream| stream.pictures).sum();
    let unread: u64 = interval.streams.iter().map(|stream| stream.unread).sum();
    let (latency, events) = (&interval.latency, &interval.events);
    let mut text = format!(
        "{:>5} {:>8} {:>3.0} | {} | {} {} {} {} | {} | {pictures} pictures, {unread} unread, {events:?}",
        interval.piece,
        interval.interval,
        interval.seconds,
        processes.join(", "),
        latency.p50,
        latency.p90,
        latency.p99,
        latency.max,
        pauses.join(" "),
    );
    interval.failures.iter().for_each(|failure| text.push_str(&format!("\n  FAILED: {failure}")));
    text
}

fn say(text: &str) {
    // The result does not depend on whether anything reads it.
    let _ = writeln!(io::stdout(), "{text}");
}
