//! Many random updates of a session while frames flow, compared with a model of the parameters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dreamframe::params::{Change, ProcessorName};
use dreamframe::preprocess::{Context, Factory, Image, Preprocessor, Registry};
use dreamframe::{
    Event, Events, FrameView, ParamsPatch, Picture, PictureKind, PixelFormat, Result, Session, SessionHandle,
    SessionOptions, StreamDiffusionParams, Ticket,
};
use serde_json::{Map, Value, json};

use crate::frames::{moving_disc, pictures};
use crate::kit::{Kit, SIDE};
use crate::patches::{Draw, chain, patch};
use crate::process::{Process, return_memory};

/// How long anything may take before it counts as stopped.
const LIMIT: Duration = Duration::from_secs(180);
/// Updates between two comparisons of all parameters with the model; of more that wait, the oldest may be superseded by ones
/// that are rejected later.
const SETTLE: usize = 100;
/// Such comparisons between two of the pictures with those of a new engine.
const REBUILD: usize = 50;
/// Shorter interruptions are not visible.
const VISIBLE: Duration = Duration::from_millis(100);
/// The most that memory may grow after half of the updates, in KiB, besides a quarter.
const GROWTH: usize = 64 << 10;
/// Values of the stamp: `blur_intensity` is at most 100, and a 64th is exact.
const STAMPS: u64 = 6400;
/// The chains of images, and processors for them.
const CHAINS: [(&str, [&str; 3]); 2] = [
    ("image_preprocessing", ["canny", "feedback", "sharpen"]),
    ("image_postprocessing", ["soft_edge", "sharpen", "passthrough"]),
];

/// The chains of image processors that updates set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chains {
    /// Processors that record which update set them: one in each chain, so that every chain has the same length.
    Stamps,
    /// The same behind other processors, at most two.
    StampsAmongOthers,
    /// Others alone.
    Others,
}

/// What is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The chains of image processors.
    pub chains: Chains,
    /// The number of updates.
    pub updates: usize,
    /// The start of the random sequence.
    pub seed: u64,
    /// The most updates between two frames.
    pub burst: usize,
    /// The time after which it ends with fewer updates.
    pub limit: Option<Duration>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Updates of any kind; those that are in none of the following numbers changed nothing.
    pub updates: usize,
    /// Those that `update` rejected.
    pub refused: usize,
    /// Those that were accepted, and rejected when they were prepared.
    pub rejected: usize,
    /// Those that later ones replaced.
    pub superseded: usize,
    /// Those that were applied.
    pub applied: usize,
    /// Frames, each with a picture.
    pub frames: usize,
    /// Pictures whose parameters were compared with the version that they name.
    pub stamped: usize,
    /// Comparisons of all parameters with the model, and of pictures with those of a new engine.
    pub compared: [usize; 2],
    /// The median and the longest time of a frame.
    pub frame_times: [Duration; 2],
    /// The longest part of a frame's time that neither its computation nor other programs explain.
    pub unexplained: Duration,
    /// Resident memory in KiB after half of the updates and at the end.
    pub resident: Option<[usize; 2]>,
    /// Everything that is wrong.
    pub faults: Vec<String>,
}

/// The stamps that the processors of the frame in work have seen, on the session's thread.
#[derive(Debug, Default)]
struct Seen {
    before: AtomicU64,
    after: AtomicU64,
}

/// A processor of the host, in place of `blur`: passes images on, and records its setting as a stamp.
#[derive(Debug)]
struct Stamp(Arc<Seen>, u64);

#[derive(Debug)]
struct Stamps(Arc<Seen>);

fn stamp_of(settings: &Map<String, Value>) -> u64 {
    settings.get("blur_intensity").and_then(Value::as_f64).map_or(0, |value| (value * 64.0) as u64)
}

impl Factory for Stamps {
    fn start(&self, settings: &Map<String, Value>) -> Box<dyn Preprocessor> {
        Box::new(Stamp(self.0.clone(), stamp_of(settings)))
    }
}

impl Preprocessor for Stamp {
    fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> Result<()> {
        output.clone_from(input);
        // Other threads run it to verify what they have prepared.
        if thread::current().name() == Some("dreamframe-session") {
            // The first chain to run on a frame is that of the frame, the last one that of the picture.
            let first = self.0.before.compare_exchange(u64::MAX, self.1, Ordering::Relaxed, Ordering::Relaxed);
            if first.is_err() {
                self.0.after.store(self.1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn configure(&mut self, settings: &Map<String, Value>) {
        self.1 = stamp_of(settings);
    }
}

/// An accepted update that has not been part of a comparison.
struct Accepted {
    version: u64,
    changes: Vec<Change>,
    stamp: Option<u64>,
    end: Option<End>,
}

/// How an update ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Applied,
    Superseded,
    Rejected,
}

/// A run.
struct Run {
    session: Session,
    handle: SessionHandle,
    events: Events,
    seen: Arc<Seen>,
    /// The values that parameters should have, and the stamp among them.
    model: BTreeMap<String, Value>,
    stamp: u64,
    accepted: Vec<Accepted>,
    tickets: Vec<Ticket>,
    /// Whether pictures are interpolated, or were since the last comparison: these are shown at a time of their own.
    paced: bool,
    times: Vec<Duration>,
    waits: Vec<Duration>,
    report: Report,
}

/// Makes random updates and reports what is wrong; `progress` is called after every comparison.
///
/// # Errors
///
/// If the engine cannot be built or the session ends.
pub fn run(kit: &Kit, options: &Options, mut progress: impl FnMut(&Report)) -> Result<Report> {
    let start = Instant::now();
    let mut draw = Draw(options.seed);
    let mut run = Run::start(kit)?;
    let mut half = None;
    while run.report.updates < options.updates && options.limit.is_none_or(|limit| start.elapsed() < limit) {
        for _ in 0..=draw.below(options.burst) {
            run.update(&mut draw, options.chains);
        }
        run.frame()?;
        let settled = run.report.compared[0];
        if run.report.updates >= (settled + 1) * SETTLE {
            run.compare()?;
            progress(&run.report);
            if (settled + 1).is_multiple_of(REBUILD) {
                run = run.rebuild(kit)?;
            }
        }
        let time_is_half = options.limit.is_some_and(|limit| start.elapsed() > limit / 2);
        if half.is_none() && (time_is_half || run.report.updates >= options.updates / 2) {
            return_memory();
            half = Process::this().resident_kib();
        }
    }
    run.compare()?;
    let mut report = run.finish(kit)?;
    return_memory();
    report.resident = half.zip(Process::this().resident_kib()).map(|(half, end)| [half, end]);
    if let Some([half, end]) = report.resident
        && end > half + half / 4 + GROWTH
    {
        report.faults.push(format!("resident memory: grew from {half} to {end} KiB"));
    }
    Ok(report)
}

impl Run {
    fn start(kit: &Kit) -> Result<Self> {
        let mut params = Kit::params();
        params.image_preprocessing = Default::default();
        params.image_postprocessing = Default::default();
        Self::of(kit, params, 0, Report::default())
    }

    /// Starts a session of a new engine.
    fn of(kit: &Kit, params: StreamDiffusionParams, stamp: u64, report: Report) -> Result<Self> {
        let seen = Arc::new(Seen::default());
        let registry = Registry::new().with(ProcessorName::Blur, Arc::new(Stamps(seen.clone())));
        let model = BTreeMap::new();
        let paced = params.interpolation.factor > 1;
        let session = kit.engine_with(params, registry, |_| ())?.start(SessionOptions::default())?;
        let handle = session.handle();
        let events = handle.events();
        let (accepted, tickets, times, waits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Ok(Self { session, handle, events, seen, model, stamp, accepted, tickets, paced, times, waits, report })
    }

    /// Makes one update: half of them with a new stamp in both chains of images, if there are stamps.
    fn update(&mut self, draw: &mut Draw, chains: Chains) {
        self.report.updates += 1;
        let mut patch = patch(draw);
        let stamp =
            (chains != Chains::Others && draw.below(2) == 0).then_some(1 + self.report.updates as u64 % (STAMPS - 1));
        if chains != Chains::Others {
            let fields = patch.as_object_mut().expect("patches are objects");
            CHAINS.iter().for_each(|(name, _)| drop(fields.remove(*name)));
        }
        if let Some(stamp) = stamp {
            let stamping = json!({"type": "blur", "params": {"blur_intensity": stamp as f64 / 64.0}});
            for (name, kinds) in CHAINS {
                patch[name] = match chains {
                    Chains::Stamps => json!({"processors": []}),
                    Chains::StampsAmongOthers | Chains::Others => chain(draw, &kinds),
                };
                patch[name]["processors"].as_array_mut().expect("chains are lists").push(stamping.clone());
            }
        }
        match ParamsPatch::from_json(&patch.to_string()).and_then(|patch| self.handle.update(&patch)) {
            Ok(ticket) => {
                self.accepted.push(Accepted {
                    version: ticket.version,
                    changes: ticket.changes.clone(),
                    stamp,
                    end: None,
                });
                self.tickets.push(ticket);
                self.paced |= self.handle.params().interpolation.factor > 1;
            }
            Err(_) => self.report.refused += 1,
        }
    }

    /// Takes the events of updates that have ended.
    fn take_events(&mut self) {
        for event in self.events.try_iter() {
            let (version, end, count) = match event {
                Event::UpdateApplied { version, .. } => (version, End::Applied, &mut self.report.applied),
                Event::UpdateSuperseded { version } => (version, End::Superseded, &mut self.report.superseded),
                Event::UpdateRejected { version, .. } => (version, End::Rejected, &mut self.report.rejected),
                other @ (Event::FrameFailed { .. }
                | Event::TransitionFailed { .. }
                | Event::Degraded { .. }
                | Event::Recovered
                | Event::CallbackFailed { .. }
                | Event::Stopped { .. }
                | _) => {
                    self.report.faults.push(format!("an event: {other:?}"));
                    continue;
                }
            };
            *count += 1;
            self.accepted.iter_mut().filter(|one| one.version == version).for_each(|one| one.end = Some(end));
        }
        if self.events.lost() > 0 {
            self.report.faults.push(format!("events: {} lost, expected 0", self.events.lost()));
        }
    }

    /// Submits a frame, waits for its picture, and checks when it came and which parameters it was made with.
    fn frame(&mut self) -> Result<()> {
        let index = self.report.frames;
        self.take_events();
        let applied = self.accepted.iter().filter(|one| one.end == Some(End::Applied) && one.stamp.is_some());
        let least = applied.map(|one| one.version).max().unwrap_or(0);
        self.report.frames += 1;
        let pixels = moving_disc(index % 8, SIDE, SIDE);
        self.seen.before.store(u64::MAX, Ordering::Relaxed);
        self.seen.after.store(u64::MAX, Ordering::Relaxed);
        let delayed = Process::this().delay_of("dreamframe-sess").unwrap_or_default();
        let start = Instant::now();
        let id = self.handle.submit(&FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels)?)?;
        let picture = loop {
            match self.handle.wait(Duration::from_secs(1)) {
                Some(picture) if picture.id == id && picture.kind != PictureKind::Interpolated => break Some(picture),
                Some(_) => {}
                None if start.elapsed() > LIMIT => break None,
                None => {}
            }
        };
        let time = start.elapsed();
        let delayed = Process::this().delay_of("dreamframe-sess").unwrap_or_default().saturating_sub(delayed);
        self.take_events();
        let Some(picture) = picture else {
            self.report.faults.push(format!("frame {index}: no picture within {LIMIT:?}"));
            return Ok(());
        };
        if !self.paced {
            let computed = Duration::from_micros(picture.timings.total);
            self.times.push(time);
            self.waits.push(time.saturating_sub(computed).saturating_sub(delayed));
        }
        self.check_stamps(&picture, least);
        Ok(())
    }

    /// Checks that both chains of a picture had the same stamp, that of an update which was applied by then and is not
    /// older than `least`.
    fn check_stamps(&mut self, picture: &Picture, least: u64) {
        let [before, after] = [&self.seen.before, &self.seen.after].map(|seen| seen.load(Ordering::Relaxed));
        // Repeated pictures, and those before the first update of the chains, run neither.
        if after == u64::MAX {
            return;
        }
        self.report.stamped += 1;
        // Updates are prepared side by side, so that one can be applied before an earlier one.
        let newest = self.accepted.iter().rev().find(|one| one.stamp == Some(after));
        let valid = match newest {
            Some(one) => {
                one.version <= picture.version && one.version >= least && matches!(one.end, Some(End::Applied))
            }
            None => after == self.stamp && least == 0,
        };
        if before != after || !valid {
            let (version, newest) = (picture.version, newest.map(|one| (one.version, one.end)));
            let text = format!("version {version}: stamps {before} and {after} of {newest:?}, at least {least}");
            self.report.faults.push(format!("frame {}: {text}", self.report.frames));
        }
    }

    /// Waits for all updates, and compares the parameters with the model: each has the value of the last update that
    /// changed it and was not rejected.
    fn compare(&mut self) -> Result<()> {
        for ticket in std::mem::take(&mut self.tickets) {
            self.handle.wait_for(&ticket, LIMIT)?;
            self.take_events();
        }
        for one in self.accepted.drain(..).filter(|one| one.end != Some(End::Rejected)) {
            for change in one.changes.into_iter().filter(|change| has_one_value(&change.path)) {
                self.model.insert(change.path, change.new.unwrap_or_default());
            }
            self.stamp = one.stamp.unwrap_or(self.stamp);
        }
        let params = self.handle.params();
        let values = params.to_value();
        for (path, expected) in &self.model {
            let found = path.split('.').fold(&values, |value, name| &value[name]);
            if !is_same(found, expected) {
                let text = format!("{path}: got {found}, expected {expected}");
                self.report.faults.push(format!("update {}: {text}", self.report.updates));
            }
        }
        let last = values["image_preprocessing"]["processors"].as_array().and_then(|chain| chain.last());
        let blur = last.and_then(|last| last["params"].as_object()).map(stamp_of);
        if self.stamp > 0 && blur != Some(self.stamp) {
            self.report.faults.push(format!("update {}: stamp {blur:?}, expected {}", self.report.updates, self.stamp));
        }
        self.model.clear();
        self.paced = params.interpolation.factor > 1;
        self.report.compared[0] += 1;
        Ok(())
    }

    /// Compares the pictures with those of a new engine, and continues with that.
    fn rebuild(self, kit: &Kit) -> Result<Self> {
        let stamp = self.stamp;
        let mut times = self.times.clone();
        let mut waits = self.waits.clone();
        let report = self.end(kit)?;
        let params = report.1;
        let mut run = Self::of(kit, params, stamp, report.0)?;
        run.times.append(&mut times);
        run.waits.append(&mut waits);
        Ok(run)
    }

    /// Ends the session, and compares its engine's pictures with those of a new one.
    fn end(mut self, kit: &Kit) -> Result<(Report, StreamDiffusionParams)> {
        // Another model makes everything again that frames leave behind; then only the parameters count.
        let other = if self.handle.params().model_id == "first-demo" { "second-demo" } else { "first-demo" };
        let last = json!({"model_id": other, "enable_similar_image_filter": false, "skip_diffusion": false, "seed": 5});
        let ticket = self.handle.update(&ParamsPatch::from_json(&last.to_string())?)?;
        self.handle.wait_for(&ticket, LIMIT)?;
        self.take_events();
        let stats = self.handle.stats();
        let mut report = self.report;
        if (stats.failed.total, stats.dropped.total) != (0, 0) {
            report.faults.push(format!("frames: {} failed, {} dropped", stats.failed.total, stats.dropped.total));
        }
        let mut engine = self.session.stop(LIMIT)?;
        let params = engine.params().clone();
        let registry = Registry::new().with(ProcessorName::Blur, Arc::new(Stamps(self.seen)));
        let mut fresh = kit.engine_with(params.clone(), registry, |_| ())?;
        let (ours, theirs) = (pictures(&mut engine, 6), pictures(&mut fresh, 6));
        report.compared[1] += 1;
        if let Some(index) = (0..ours.len()).find(|&index| ours[index] != theirs[index]) {
            report.faults.push(format!("picture {index} differs from a new engine's: {}", params.to_json()));
        }
        Ok((report, params))
    }

    fn finish(mut self, kit: &Kit) -> Result<Report> {
        self.times.sort_unstable();
        if let (Some(&median), Some(&longest)) = (self.times.get(self.times.len() / 2), self.times.last()) {
            self.report.frame_times = [median, longest];
            let bound = (2 * median).max(VISIBLE);
            let frozen = self.waits.iter().filter(|&&wait| wait > bound).count();
            if frozen > 0 {
                self.report.faults.push(format!("frames: {frozen} waited more than {bound:?} without computation"));
            }
        }
        self.report.unexplained = self.waits.iter().max().copied().unwrap_or_default();
        Ok(self.end(kit)?.0)
    }
}

/// Whether a change of `path` is of a value as a whole, and not of a part of a list or a map.
fn has_one_value(path: &str) -> bool {
    !path.contains('[') && !["lora_dict", "controlnets"].contains(&path) && !path.ends_with("processors")
}

/// Whether two values are the same parameter: numbers may be written as 1 or 1.0.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b)),
        (a, b) => a == b,
    }
}
