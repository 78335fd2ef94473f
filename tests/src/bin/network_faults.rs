//! Network faults against `dreamframe serve`: scripts of faults on the links of one stream, while another one runs
//! unaffected; then sessions that are opened and dropped.
//!
//! `cargo run --release -p dreamframe-tests --features transport --bin network_faults -- --server PROGRAM
//! [--scripts 200] [--first 0] [--seed 1] [--sessions 1000]`
//!
//! It prints a line for each script, and fails if
//! - pictures are not back within two seconds of the end of a script's last fault,
//! - the other stream pauses for longer than a second, or twice its longest pause without faults if that is more,
//! - a session is not connected, or
//! - threads or descriptors of the server remain that a warm-up did not leave, or its memory grows by more than 16 MiB.
//!
//! `--first N` begins with script N, so that `--first N --scripts 1` repeats one.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dreamframe::transport::peer::PeerState;
use dreamframe::transport::{Client, Egress, EgressOptions, play, publish};
use dreamframe::{Error, ErrorKind, Result};
use dreamframe_tests::network::{
    Drawn, FaultKind, LiveStream, Offers, Program, Screen, Script, Sessions, Source, Target, Trial, client_options,
    longest_gap, open_and_drop,
};
use dreamframe_tests::process::Process;
use serde_json::json;

const SIDE: u32 = 64;
const RATE: f64 = 15.0;
/// The longest time until pictures are back.
const BACK: Duration = Duration::from_secs(2);
/// The longest time for which pictures are waited for before the clients are replaced.
const LIMIT: Duration = Duration::from_secs(30);
/// The longest pause of the other stream.
const GAP: Duration = Duration::from_secs(1);
/// How long the other stream is measured without faults.
const CALM: Duration = Duration::from_secs(10);
/// The most that memory may grow, in KiB.
const GROWTH: usize = 16 << 10;
/// The longest time for which threads and descriptors of ended sessions may remain: abandoned ones end after 15 s at most.
const SETTLED: Duration = Duration::from_secs(60);
/// Streams that sessions are published to, and sessions of the warm-up.
const PATHS: usize = 2;
const WARM_UP: u32 = 200;

struct Options {
    scripts: u32,
    first: u32,
    seed: u64,
    sessions: u32,
    server: PathBuf,
}

fn main() -> Result<ExitCode> {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        let usage = "usage: network_faults --server PROGRAM [--scripts 200] [--first 0] [--seed 1] [--sessions 1000]";
        let _ = writeln!(io::stderr(), "{usage}");
        return Ok(ExitCode::from(2));
    };
    // Each part has a server of its own, since the number of streams is limited.
    let start = || Program::start(&options.server).map_err(|error| io_error("the server does not start", error));
    let mut failures = 0;
    if options.scripts > 0 {
        failures += scripts(&options, &start()?)?;
    }
    if options.sessions > 0 {
        failures += sessions(&options, &start()?)?;
    }
    say(&format!("{failures} failures"));
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self { scripts: 200, first: 0, seed: 1, sessions: 1000, server: PathBuf::new() };
        while let Some(argument) = arguments.next() {
            let value = arguments.next()?;
            match argument.as_str() {
                "--scripts" => options.scripts = value.parse().ok()?,
                "--first" => options.first = value.parse().ok()?,
                "--seed" => options.seed = value.parse().ok()?,
                "--sessions" => options.sessions = value.parse().ok()?,
                "--server" => options.server = value.into(),
                _ => return None,
            }
        }
        (options.server != PathBuf::new()).then_some(options)
    }
}

/// Runs the scripts; returns the number of failures.
fn scripts(options: &Options, program: &Program) -> Result<usize> {
    let calm = Calm::start(program)?;
    let stream = create(program)?;
    let target = Target {
        server: program.addr(),
        whip: stream.whip(),
        whep: stream.whep(),
        page: "/openapi.json".into(),
        offers: Offers::make()?,
    };
    let start = || Trial::start(target.clone(), (SIDE * 2, SIDE), RATE, options.seed);
    let mut trial = start()?;
    let bound = calm.bound();
    say(&format!("seed {}; the other stream may pause for {} ms", options.seed, bound.as_millis()));
    let last = options.first + options.scripts;
    let (mut times, mut failures, mut warm) = (Vec::new(), 0, None);
    let mut reconnected = (0, 0);
    let began = Instant::now();
    for number in options.first..last {
        // Every kind of fault has had its effect on what the server keeps.
        if number == options.first + FaultKind::ALL.len() as u32 {
            warm = Some(settled(&program.process(), None));
        }
        let outcome = run(&trial, &calm, &Script::draw(options.seed, number));
        let failed = !outcome.is_good(bound);
        say(&format!(
            "{number:>4} {} back {} other {:>4} ms reconnected {}+{} {} | {}",
            if failed { "FAILED" } else { "ok    " },
            outcome.back.map_or_else(|| "never".into(), |back| format!("{:>5} ms", back.as_millis())),
            outcome.gap.as_millis(),
            outcome.failures.0,
            outcome.failures.1,
            server_line(&program.process()),
            outcome.script
        ));
        failures += usize::from(failed);
        times.extend(outcome.back);
        reconnected = (reconnected.0 + outcome.failures.0, reconnected.1 + outcome.failures.1);
        if outcome.back.is_none() {
            drop(trial);
            trial = start()?;
        }
    }
    say(&format!("{} scripts in {} s", options.scripts, began.elapsed().as_secs()));
    say(&format!("back: {}", percentiles(times)));
    say(&format!("reconnected: publisher {} times, viewer {} times", reconnected.0, reconnected.1));
    Ok(failures + compare(&program.process(), warm))
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
    let texts = [50, 90, 99, 100].map(|p| format!("p{p} {} ms", at(p).map_or(0, Duration::as_millis)));
    format!("{} scripts, {}", times.len(), texts.join(", "))
}

/// What came of a script.
struct Outcome {
    script: Script,
    back: Option<Duration>,
    /// The longest pause of the other stream.
    gap: Duration,
    /// How often the publisher and the viewer lost their connections.
    failures: (usize, usize),
}

impl Outcome {
    fn is_good(&self, bound: Duration) -> bool {
        self.back.is_some_and(|back| back <= BACK) && self.gap <= bound
    }
}

fn run(trial: &Trial, calm: &Calm, script: &Script) -> Outcome {
    drop((trial.take(), calm.screen.take(), trial.failures()));
    let start = Instant::now();
    let end = script.faults.iter().map(|fault| trial.run(fault)).last().unwrap_or(start);
    let back = trial.recovery(end, LIMIT);
    let gap = longest_gap(&calm.screen.take(), start, Instant::now());
    Outcome { script: script.clone(), back, gap, failures: trial.failures() }
}

/// Opens and drops sessions; returns the number of failures.
fn sessions(options: &Options, program: &Program) -> Result<usize> {
    let calm = Calm::start(program)?;
    let streams = (0..PATHS).map(|_| create(program)).collect::<Result<Vec<_>>>()?;
    let whip = streams.iter().map(LiveStream::whip).collect();
    let sessions = Sessions { server: program.addr(), whip, whep: calm.stream.whep() };
    let process = program.process();
    open_and_drop(&sessions, WARM_UP, &|_| ())?;
    let warm = settled(&process, None);
    say(&format!("{WARM_UP} sessions of the warm-up: {}", server_line(&process)));
    let (bound, began) = (calm.bound(), Instant::now());
    drop(calm.screen.take());
    let progress = |ended: u32| {
        if ended.is_multiple_of(50) {
            say(&format!("{ended:>6} sessions in {} s: {}", began.elapsed().as_secs(), server_line(&process)));
        }
    };
    let opened = open_and_drop(&sessions, options.sessions, &progress);
    let gap = longest_gap(&calm.screen.take(), began, Instant::now());
    if let Err(error) = &opened {
        say(&format!("FAILED: a session was not connected: {error:#}"));
    }
    let paused = gap > bound;
    let what = if paused { "FAILED" } else { "ok" };
    say(&format!("{what}: the other stream paused for {} ms, limit {} ms", gap.as_millis(), bound.as_millis()));
    Ok(usize::from(opened.is_err()) + usize::from(paused) + compare(&process, Some(warm)))
}

/// The stream without faults. What is named first ends first.
struct Calm {
    _viewer: Client,
    _publisher: Client,
    _source: Source,
    screen: Arc<Screen>,
    stream: LiveStream,
}

impl Calm {
    fn start(program: &Program) -> Result<Self> {
        let stream = create(program)?;
        let (egress, drawn) = (Egress::new(EgressOptions::default()), Arc::new(Drawn::default()));
        let (source, screen) = (Source::start(&egress, (SIDE * 2, SIDE), RATE, &drawn), Screen::new(&drawn));
        let publisher = publish(&program.url(&stream.whip()), client_options(), egress)?;
        let viewer = play(&program.url(&stream.whep()), client_options(), screen.clone())?;
        viewer.wait_for(PeerState::Connected, LIMIT)?;
        if !screen.wait_until(LIMIT, |seen| seen.len() >= 30) {
            return Err(Error::new(ErrorKind::Timeout, format!("no pictures came within {} s", LIMIT.as_secs())));
        }
        Ok(Self { _viewer: viewer, _publisher: publisher, _source: source, screen, stream })
    }

    /// Measures the pauses that it has anyway; returns the longest that is permitted.
    fn bound(&self) -> Duration {
        drop(self.screen.take());
        let start = Instant::now();
        self.screen.wait_until(CALM, |_| false);
        GAP.max(2 * longest_gap(&self.screen.take(), start, Instant::now()))
    }
}

/// The threads, descriptors and memory of a process.
#[derive(Debug, Clone, Copy)]
struct Usage {
    threads: usize,
    descriptors: usize,
    resident_kib: usize,
}

impl Usage {
    fn of(process: &Process) -> Self {
        let resident_kib = process.resident_kib().unwrap_or(0);
        Self { threads: process.threads(), descriptors: process.descriptors(), resident_kib }
    }
}

/// Waits until threads and descriptors are at most as many as before, or, without `before`, no longer become fewer.
fn settled(process: &Process, before: Option<Usage>) -> Usage {
    const STEP: Duration = Duration::from_millis(500);
    let start = Instant::now();
    let mut least = Usage::of(process);
    while start.elapsed() < SETTLED {
        let now = Usage::of(process);
        least = Usage {
            threads: least.threads.min(now.threads),
            descriptors: least.descriptors.min(now.descriptors),
            resident_kib: now.resident_kib,
        };
        let is_done = before.map_or(start.elapsed() > SETTLED / 2, |b| {
            least.threads <= b.threads && least.descriptors <= b.descriptors
        });
        if is_done {
            break;
        }
        std::thread::sleep(STEP);
    }
    least
}

/// Compares what the server uses with that after the warm-up; returns the number of failures.
fn compare(process: &Process, warm: Option<Usage>) -> usize {
    let Some(warm) = warm else { return 0 };
    let now = settled(process, Some(warm));
    let failed = now.threads > warm.threads
        || now.descriptors > warm.descriptors
        || now.resident_kib > warm.resident_kib + GROWTH;
    say(&format!(
        "{}: threads {} -> {}, descriptors {} -> {}, memory {} -> {} KiB",
        if failed { "FAILED" } else { "ok" },
        warm.threads,
        now.threads,
        warm.descriptors,
        now.descriptors,
        warm.resident_kib,
        now.resident_kib
    ));
    usize::from(failed)
}

fn server_line(process: &Process) -> String {
    let usage = Usage::of(process);
    format!("{} threads {} descriptors {} KiB", usage.threads, usage.descriptors, usage.resident_kib)
}

fn create(program: &Program) -> Result<LiveStream> {
    let params = json!({"model_id": "demo", "width": SIDE, "height": SIDE});
    program.create(&params).map_err(|error| io_error("the server does not create a stream", error))
}

fn say(line: &str) {
    // The results do not depend on whether anything reads them.
    let _ = writeln!(io::stdout(), "{line}");
}

fn io_error(what: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::Io, what.to_owned()).with_source(error)
}
