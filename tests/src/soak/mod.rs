//! Streams that continue for long, with changes, clients that come and go, and restarts of Redis: what `soak` runs.

mod host;
mod plot;
mod record;
mod rules;
mod stream;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use dreamframe::{Error, ErrorKind, Result};
use serde_json::{Value, json};

pub use self::plot::{svg, table};
pub use self::record::{Events, Interval, Latency, Range, StreamRecord, Usage, read};
pub use self::rules::{GROWTH_KIB, MORE_DESCRIPTORS, MORE_THREADS, PAUSE_MS, RECOVERY_MS, REDIS_PAUSE_MS};

use self::host::Host;
use self::record::{append, timestamp};
use self::stream::{LIMIT, Stream};
use crate::network::LiveStream;

/// The time between two steps, and how often the recovery of requests is looked for within one.
const STEP: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(100);
/// The steps of a guest: it comes at the first, and goes at the fifth.
const VISIT: u64 = 8;
/// The failures of an interval that are noted, apart from those of its figures.
const MOST_FAILURES: usize = 20;

/// What is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program `dreamframe`.
    pub program: PathBuf,
    /// Whether a gateway and two workers serve the streams, and not one server.
    pub scale_out: bool,
    /// The number of streams.
    pub streams: usize,
    /// The number of intervals.
    pub intervals: u32,
    /// The seconds of an interval; of each, a step.
    pub interval_seconds: u64,
    /// The commit that is recorded.
    pub commit: String,
    /// The file to which each interval is added.
    pub record: Option<PathBuf>,
    /// The folder that keeps the state of the servers for the next piece.
    pub keep: Option<PathBuf>,
}

/// When what happens, in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Schedule {
    /// An interval.
    interval: u64,
    /// How long Redis is down.
    down: u64,
    /// How long a deleted stream is absent.
    absent: u64,
}

impl Schedule {
    fn new(interval: u64) -> Self {
        Self { interval, down: (interval / 6).clamp(1, 10), absent: (interval / 10).clamp(1, 6) }
    }

    /// The step of its interval.
    fn phase(self, step: u64) -> u64 {
        step % self.interval
    }

    /// Whether Redis ends: once in an interval.
    fn ends_redis(self, step: u64) -> bool {
        self.phase(step) == self.interval / 2
    }

    /// Whether neither publishers nor structures change: from before Redis ends until it is back.
    fn is_calm(self, step: u64) -> bool {
        let middle = self.interval / 2;
        (middle.saturating_sub(self.down)..=middle + 2 * self.down).contains(&self.phase(step))
    }

    /// Whether the last stream is deleted: twice in an interval.
    fn deletes(self, step: u64) -> bool {
        [self.interval / 8, self.interval * 7 / 8].contains(&self.phase(step))
    }

    /// Whether something happens to a stream that happens `times` in an interval, to one stream after the other.
    fn is_due(self, step: u64, stream: usize, times: u64) -> bool {
        let every = (self.interval / times).max(1);
        !self.is_calm(step) && (step + every - 1 + stream as u64 * every / 3).is_multiple_of(every) && step > 0
    }
}

/// What has become of Redis.
#[derive(Debug, Clone, Copy)]
enum Registry {
    Up,
    /// It is started in this step.
    Down(u64),
    /// It was started then.
    Back(Instant),
}

struct Soak {
    options: Options,
    schedule: Schedule,
    host: Host,
    streams: Vec<Stream>,
    registry: Registry,
    /// The step in which the last stream is created again.
    absent_until: Option<u64>,
    usage: BTreeMap<String, Usage>,
    events: Events,
    failures: Vec<String>,
}

/// Runs the streams, and gives each interval that is complete to `progress`; returns all of them.
///
/// # Errors
///
/// Those of the system; `Timeout` if no picture comes for a minute. Violations of the rules are recorded instead.
pub fn run(options: Options, mut progress: impl FnMut(&Interval)) -> Result<Vec<Interval>> {
    let earlier = match &options.record {
        Some(path) => read(path).map_err(|error| io_error("the record cannot be read", error))?,
        None => Vec::new(),
    };
    let piece = earlier.last().map_or(1, |last| last.piece + 1);
    let mut soak = Soak::start(options)?;
    let mut intervals: Vec<Interval> = Vec::new();
    let (mut step, mut due) = (0, Instant::now());
    for number in 1..=soak.options.intervals {
        let began = Instant::now();
        let mut result = Ok(());
        for _ in 0..soak.schedule.interval {
            result = soak.step(step);
            if result.is_err() {
                break;
            }
            (step, due) = (step + 1, due + STEP);
            soak.rest(due);
        }
        if number == soak.options.intervals && result.is_ok() {
            result = soak.settle();
        }
        // What ends the run is recorded, too.
        if let Err(error) = &result {
            soak.fail(format!("{error:#}"));
        }
        let mut interval = soak.interval(piece, number, began.elapsed());
        interval.failures.extend(rules::violations(&interval, intervals.first()));
        if let Some(path) = &soak.options.record {
            append(path, &interval).map_err(|error| io_error("the record cannot be written", error))?;
        }
        progress(&interval);
        intervals.push(interval);
        result?;
    }
    let failed = soak.stop()?;
    if failed.is_empty() {
        return Ok(intervals);
    }
    let text = format!("end of {}: got a failure, expected success", failed.join(", "));
    Err(Error::new(ErrorKind::Internal, text))
}

impl Soak {
    fn start(options: Options) -> Result<Self> {
        let host = Host::start(&options.program, options.scale_out, options.keep.as_deref())
            .map_err(|error| io_error("the servers do not start", error))?;
        let mut soak = Self {
            schedule: Schedule::new(options.interval_seconds),
            host,
            streams: Vec::new(),
            registry: Registry::Up,
            absent_until: None,
            usage: BTreeMap::new(),
            events: Events::default(),
            failures: Vec::new(),
            options,
        };
        let list = soak.host.front.streams().map_err(|error| io_error("the streams cannot be listed", error))?;
        let kept = &list["data"];
        let changed = soak.host.compare(kept).map_err(|error| io_error("the previous piece is not readable", error))?;
        soak.failures.extend(changed);
        for number in 1..=soak.options.streams {
            let name = format!("stream {number}");
            let found = kept.as_array().and_then(|kept| kept.iter().find(|object| object["name"] == *name));
            let mut stream = Stream::new(name, found.map(LiveStream::of));
            found.into_iter().for_each(|object| stream.resume(&object["params"]));
            soak.streams.push(stream);
            soak.create(number - 1)?;
        }
        // What happened until here belongs to no interval.
        soak.streams.iter().for_each(|stream| drop(stream.watch.take()));
        soak.events = Events::default();
        Ok(soak)
    }

    /// Creates a stream, unless it exists, and waits for its first picture.
    fn create(&mut self, at: usize) -> Result<()> {
        let began = Instant::now();
        if self.streams[at].live.is_none() {
            let body = self.streams[at].creation();
            let made = self.request("POST", "/v1/streams", &body).ok_or_else(|| {
                Error::new(ErrorKind::Internal, format!("a stream cannot be created: {}", self.failures.join("; ")))
            })?;
            self.streams[at].live = Some(LiveStream::of(&made));
        }
        self.streams[at].connect(&self.host.front)?;
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.events.first_picture_ms = self.events.first_picture_ms.max(took);
        Ok(())
    }

    /// Sends a request; `None` if it was refused, which is a failure unless Redis is the reason.
    fn request(&mut self, method: &str, path: &str, body: &Value) -> Option<Value> {
        let answer = match self.host.front.send(method, path, body) {
            Ok(answer) if answer.status / 100 == 2 => return Some(answer.json()),
            Ok(answer) => answer,
            Err(error) => {
                self.fail(format!("{method} {path}: {error}"));
                return None;
            }
        };
        let (status, code) = (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned());
        let is_expected = match self.registry {
            Registry::Up => false,
            Registry::Down(_) => code == "GATEWAY/NO_REGISTRY",
            // Before workers have published themselves and their streams again.
            Registry::Back(_) => status == 404 || code == "GATEWAY/NO_REGISTRY" || code == "GATEWAY/NO_WORKER",
        };
        if is_expected {
            self.events.refused += 1;
        } else {
            self.fail(format!("{method} {path}: got {status} {code}, expected success"));
        }
        None
    }

    /// Notes a failure, once; the first of an interval are enough.
    fn fail(&mut self, what: String) {
        if self.failures.len() < MOST_FAILURES && !self.failures.contains(&what) {
            self.failures.push(what);
        }
    }

    /// What happens in a step.
    fn step(&mut self, step: u64) -> Result<()> {
        self.change_redis(step)?;
        self.delete_and_create(step)?;
        for at in 0..self.streams.len() {
            let Some(path) = self.streams[at].path() else { continue };
            self.change(at, &path, step);
            if self.schedule.is_due(step, at, 15) {
                self.streams[at].reconnect(&self.host.front)?;
                self.events.reconnects += 1;
            }
            match step % VISIT {
                0 => self.streams[at].start_guest(&self.host.front)?,
                4 => self.end_guest(at),
                _ => {}
            }
            if self.streams[at].watch.paused_for() > LIMIT {
                return Err(timeout(&self.streams[at].name));
            }
        }
        self.sample();
        Ok(())
    }

    fn end_guest(&mut self, at: usize) {
        if let Some(has_seen) = self.streams[at].end_guest() {
            self.events.guests += 1;
            self.events.guests_with_pictures += u64::from(has_seen);
        }
    }

    /// Changes parameters of a stream: always the prompt, now and then the size or the steps.
    fn change(&mut self, at: usize, path: &str, step: u64) {
        let patch = self.streams[at].next_prompt(step);
        let accepted = self.request("PATCH", path, &json!({ "params": patch }));
        self.events.changes += u64::from(accepted.is_some());
        let is_structural = [self.schedule.is_due(step, at, 10), self.schedule.is_due(step, at, 13)];
        for (is_due, kind) in is_structural.into_iter().zip([Stream::next_size, Stream::next_steps]) {
            if is_due {
                let patch = kind(&mut self.streams[at]);
                let accepted = u64::from(self.request("PATCH", path, &json!({ "params": patch })).is_some());
                self.events.changes += accepted;
                self.events.structural_changes += accepted;
            }
        }
    }

    /// Ends Redis, or starts it again, where it is time.
    fn change_redis(&mut self, step: u64) -> Result<()> {
        let Some(redis) = &mut self.host.redis else { return Ok(()) };
        let failed = |error| io_error("Redis cannot be restarted", error);
        match self.registry {
            Registry::Up if self.schedule.ends_redis(step) => {
                self.streams.iter().for_each(|stream| stream.watch.mark());
                redis.stop().map_err(failed)?;
                self.registry = Registry::Down(step + self.schedule.down);
            }
            Registry::Down(until) if step >= until => {
                redis.run().map_err(failed)?;
                self.registry = Registry::Back(Instant::now());
                self.events.redis_restarts += 1;
            }
            Registry::Up | Registry::Down(_) | Registry::Back(_) => {}
        }
        Ok(())
    }

    /// Ends the recovery from a restart of Redis once requests to all streams succeed.
    fn look_for_recovery(&mut self) {
        let Registry::Back(since) = self.registry else { return };
        let answers = |stream: &Stream| {
            let path = stream.path().unwrap_or_else(|| "/v1/streams".to_owned());
            self.host.front.send("GET", &path, &json!({})).is_ok_and(|answer| answer.status == 200)
        };
        let recovery = since.elapsed();
        if self.streams.iter().all(answers) || recovery > LIMIT {
            let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let pause = self.streams.iter().map(|stream| ms(stream.watch.marked_pause())).max().unwrap_or(0);
            self.events.redis_recovery_ms = self.events.redis_recovery_ms.max(ms(recovery));
            self.events.redis_pause_ms = self.events.redis_pause_ms.max(pause);
            self.registry = Registry::Up;
        }
    }

    /// Deletes the last stream, or creates it again, where it is time.
    fn delete_and_create(&mut self, step: u64) -> Result<()> {
        let Some(at) = self.streams.len().checked_sub(1) else { return Ok(()) };
        if self.schedule.deletes(step) && self.absent_until.is_none() && matches!(self.registry, Registry::Up) {
            self.end_guest(at);
            self.streams[at].disconnect();
            if let Some(path) = self.streams[at].path() {
                self.request("DELETE", &path, &json!({}));
            }
            self.streams[at].live = None;
            self.absent_until = Some(step + self.schedule.absent);
        } else if self.absent_until.is_some_and(|until| step >= until) {
            self.absent_until = None;
            self.create(at)?;
            self.events.recreations += 1;
        }
        Ok(())
    }

    fn sample(&mut self) {
        for (name, process) in self.host.processes() {
            match Usage::with(self.usage.get(name).copied(), &process) {
                Some(usage) => drop(self.usage.insert(name.to_owned(), usage)),
                None => self.fail(format!("{name}: the process has ended")),
            }
        }
    }

    /// Waits until the next step.
    fn rest(&mut self, due: Instant) {
        loop {
            self.look_for_recovery();
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(LOOK));
        }
    }

    /// Brings back what is absent at the end of a piece, for the next one.
    fn settle(&mut self) -> Result<()> {
        if self.absent_until.take().is_some() {
            let last = self.streams.len() - 1;
            self.create(last)?;
            self.events.recreations += 1;
        }
        if let Registry::Down(_) = self.registry {
            self.registry = Registry::Down(0);
            self.change_redis(0)?;
        }
        while let Registry::Back(_) = self.registry {
            self.rest(Instant::now() + LOOK);
        }
        Ok(())
    }

    /// Takes what was measured since the last time.
    fn interval(&mut self, piece: u32, interval: u32, time: Duration) -> Interval {
        self.note_errors();
        let mut all = Vec::new();
        let streams = self.streams.iter().map(|stream| stream.take(&mut all)).collect();
        Interval {
            end: timestamp().unwrap_or_default(),
            commit: self.options.commit.clone(),
            mode: if self.options.scale_out { "scale-out" } else { "server" }.to_owned(),
            piece,
            interval,
            seconds: (time.as_secs_f64() * 10.0).round() / 10.0,
            processes: std::mem::take(&mut self.usage),
            streams,
            latency: Latency::of(all),
            events: std::mem::take(&mut self.events),
            failures: std::mem::take(&mut self.failures),
        }
    }

    /// Notes what streams report of themselves.
    fn note_errors(&mut self) {
        if !matches!(self.registry, Registry::Up) {
            return;
        }
        for at in 0..self.streams.len() {
            let Some(path) = self.streams[at].path() else { continue };
            let Some(status) = self.request("GET", &format!("{path}/status"), &json!({})) else { continue };
            let (name, inference) = (self.streams[at].name.clone(), &status["data"]["inference_status"]);
            if !inference["last_error"].is_null() {
                self.fail(format!("{name}: got the error {}, expected none", inference["last_error"]));
            }
            if inference["restart_count"].as_u64() != Some(0) {
                self.fail(format!("{name}: got {} restarts, expected 0", inference["restart_count"]));
            }
        }
    }

    fn stop(mut self) -> Result<Vec<&'static str>> {
        self.streams.iter_mut().for_each(Stream::disconnect);
        let kept = self.request("GET", "/v1/streams", &json!({})).unwrap_or_default();
        self.host.keep(&kept["data"]).map_err(|error| io_error("the streams cannot be kept", error))?;
        self.host.stop().map_err(|error| io_error("the servers do not end", error))
    }
}

fn io_error(what: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::Io, what.to_owned()).with_source(error)
}

fn timeout(name: &str) -> Error {
    Error::new(ErrorKind::Timeout, format!("{name}: no picture came within {} s", LIMIT.as_secs()))
}

#[cfg(test)]
mod tests;
