//! Chooses the size of pictures and the number of denoising steps by the speed of the machine.

use std::time::{Duration, Instant};

use dreamframe::frame::{FrameView, PixelFormat};
use dreamframe::params::StreamDiffusionParams;
use dreamframe::{Engine, Result};

/// The longest time of a frame that a level is chosen for, and the time above which a cheaper one is chosen: 12 pictures per
/// second. The first is shorter, since others take processor time as well.
const TIMES: (Duration, Duration) = (Duration::from_millis(60), Duration::from_millis(83));
/// Those of small pictures, which lose more by less detail than by fewer pictures: 8 per second.
const TIMES_OF_SMALL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(125));
/// The longest side of small pictures, in pixels.
const SMALL: u32 = 192;
/// The shortest time between two changes, in milliseconds: the times of frames settle, and viewers do too.
const SETTLE_MS: u64 = 3_000;
/// The time for which a better level must be affordable, in milliseconds. It doubles, up to the maximum, each time that the
/// better level proves too slow.
const PATIENCE_MS: u64 = 5_000;
const MOST_PATIENCE_MS: u64 = 120_000;
/// The time in which a better level proves too slow, in milliseconds.
const TRIAL_MS: u64 = 15_000;

/// The longest sides of pictures in pixels, each with the numbers of steps, from the best to the cheapest.
const LADDER: [(u32, &[usize]); 11] = [
    (u32::MAX, &[usize::MAX, 2, 1]),
    (512, &[2, 1]),
    (448, &[1]),
    (384, &[2, 1]),
    (320, &[2, 1]),
    (288, &[1]),
    (256, &[2, 1]),
    (224, &[1]),
    (192, &[1]),
    (160, &[1]),
    (128, &[1]),
];
/// Sizes are multiples of this.
const SIZE_STEP: u32 = 32;
/// The shortest side.
const SHORTEST: u32 = 64;

/// The longest time of a measurement.
const MEASURE: Duration = Duration::from_millis(600);
/// The frames of a measurement.
const MEASURED: usize = 5;

/// A level of quality: the size of pictures in pixels, and the number of denoising steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) steps: usize,
}

/// The time of a frame, and that of the UNet in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameTime {
    pub(crate) total: Duration,
    pub(crate) unet: Duration,
}

impl Level {
    /// The level of `params` themselves.
    pub(crate) fn of(params: &StreamDiffusionParams) -> Self {
        Self { width: params.width, height: params.height, steps: params.t_index_list.len() }
    }

    /// Returns the levels for `params`, from the best, which is that of `params`, to the cheapest.
    pub(crate) fn all(params: &StreamDiffusionParams) -> Vec<Self> {
        let Self { width, height, steps } = Self::of(params);
        let longest = width.max(height);
        let scaled = |length: u32, side: u32| {
            let exact = f64::from(length) * f64::from(side) / f64::from(longest);
            ((exact / f64::from(SIZE_STEP)).round() as u32 * SIZE_STEP).max(SHORTEST)
        };
        let mut levels: Vec<Self> = Vec::new();
        for (side, counts) in LADDER {
            let is_whole = side >= longest;
            let (width, height) = if is_whole { (width, height) } else { (scaled(width, side), scaled(height, side)) };
            for count in counts {
                let level = Self { width, height, steps: steps.min(*count) };
                if !levels.contains(&level) {
                    levels.push(level);
                }
            }
        }
        levels
    }

    /// Returns the cheapest level for `params`.
    pub(crate) fn cheapest(params: &StreamDiffusionParams) -> Self {
        Self::all(params).pop().unwrap_or_else(|| Self::of(params))
    }

    /// Returns `params` at this level: its size, and as many of the first denoising steps.
    pub(crate) fn apply(self, params: &StreamDiffusionParams) -> StreamDiffusionParams {
        let mut params = params.clone();
        (params.width, params.height) = (self.width, self.height);
        params.t_index_list.truncate(self.steps.max(1));
        params
    }

    /// The longest time of a frame that this level is chosen for, and the time above which a cheaper one is chosen.
    fn times(self) -> (Duration, Duration) {
        if self.width.max(self.height) <= SMALL { TIMES_OF_SMALL } else { TIMES }
    }

    fn area(self) -> f64 {
        f64::from(self.width) * f64::from(self.height)
    }

    /// Predicts the time of a frame at `self` from one at `measured`: in proportion to the pixels, and for the UNet to the
    /// steps. Attention grows faster, but small pictures have more work that does not depend on the size.
    fn predict(self, measured: Self, time: FrameTime) -> Duration {
        let area = self.area() / measured.area();
        let steps = self.steps as f64 / measured.steps.max(1) as f64;
        let others = time.total.saturating_sub(time.unet);
        Duration::try_from_secs_f64(others.as_secs_f64() * area + time.unet.as_secs_f64() * area * steps)
            .unwrap_or(Duration::MAX)
    }
}

/// Returns the best level for `params` that is fast enough by a measurement of another, or the cheapest.
pub(crate) fn choose(params: &StreamDiffusionParams, measured: Level, time: FrameTime) -> Level {
    let levels = Level::all(params);
    let affordable = levels.iter().find(|level| level.predict(measured, time) <= level.times().0);
    affordable.or(levels.last()).copied().unwrap_or_else(|| Level::of(params))
}

/// Measures an engine, for less than a second unless a single frame takes longer. Its frames in flight are replaced.
///
/// # Errors
///
/// Those of the engine.
pub(crate) fn measure(engine: &mut Engine) -> Result<FrameTime> {
    let (width, height) = engine.size();
    let pixels: Vec<u8> = (0..width as usize * height as usize * 3).map(|at| (at % 251) as u8).collect();
    let frame = FrameView::packed(PixelFormat::Rgb8, width, height, &pixels)?;
    let (mut totals, mut unets) = (Vec::new(), Vec::new());
    let start = Instant::now();
    // The first frame is slower: memory is touched for the first time.
    let first = engine.process(&frame)?.timings;
    while totals.len() < MEASURED && start.elapsed() < MEASURE {
        let timings = engine.process(&frame)?.timings;
        totals.push(timings.total);
        unets.push(timings.unet);
    }
    let median = |mut micros: Vec<u64>, first: u64| {
        micros.sort_unstable();
        Duration::from_micros(micros.get(micros.len() / 2).copied().unwrap_or(first))
    };
    Ok(FrameTime { total: median(totals, first.total), unet: median(unets, first.unet) })
}

/// Decides when a stream changes its level. It reads no clock: callers pass the time in milliseconds.
#[derive(Debug)]
pub(crate) struct Controller {
    changed_at: Option<u64>,
    /// When the level last became better.
    improved_at: Option<u64>,
    /// Since when a better level is affordable.
    affordable_since: Option<u64>,
    patience: u64,
}

impl Default for Controller {
    fn default() -> Self {
        Self { changed_at: None, improved_at: None, affordable_since: None, patience: PATIENCE_MS }
    }
}

impl Controller {
    /// Starts at a level that was just chosen.
    pub(crate) fn start(&mut self, now: u64) {
        *self = Self { changed_at: Some(now), ..Self::default() };
    }

    /// Returns the next level, if it is to change: from `current`, at which frames of `params` take `time`.
    pub(crate) fn decide(
        &mut self,
        now: u64,
        params: &StreamDiffusionParams,
        current: Level,
        time: FrameTime,
    ) -> Option<Level> {
        if self.changed_at.is_some_and(|at| now.saturating_sub(at) < SETTLE_MS) {
            return None;
        }
        let levels = Level::all(params);
        let place = levels.iter().position(|level| *level == current).unwrap_or(levels.len());
        let chosen = choose(params, current, time);
        let wanted = levels.iter().position(|level| *level == chosen)?;
        if time.total > current.times().1 {
            self.affordable_since = None;
            if wanted <= place {
                return None;
            }
            if self.improved_at.is_some_and(|at| now.saturating_sub(at) < TRIAL_MS) {
                self.patience = (self.patience * 2).min(MOST_PATIENCE_MS);
            }
            self.changed_at = Some(now);
            return Some(chosen);
        }
        if wanted >= place {
            self.affordable_since = None;
            return None;
        }
        let since = *self.affordable_since.get_or_insert(now);
        if now.saturating_sub(since) < self.patience {
            return None;
        }
        self.affordable_since = None;
        (self.changed_at, self.improved_at) = (Some(now), Some(now));
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(width: u32, height: u32, steps: &[u32]) -> StreamDiffusionParams {
        let t_index_list = steps.to_vec();
        StreamDiffusionParams { width, height, t_index_list, ..StreamDiffusionParams::demo() }
    }

    fn level(width: u32, height: u32, steps: usize) -> Level {
        Level { width, height, steps }
    }

    fn ms(total: u64, unet: u64) -> FrameTime {
        FrameTime { total: Duration::from_millis(total), unet: Duration::from_millis(unet) }
    }

    #[test]
    fn levels_go_from_the_parameters_to_the_cheapest_without_repetition() {
        let of = |levels: Vec<Level>| levels.iter().map(|l| (l.width, l.height, l.steps)).collect::<Vec<_>>();
        let square = of(Level::all(&params(512, 512, &[41, 46])));
        let (two, one) = ([512, 384, 320, 256], [512, 448, 384, 320, 288, 256, 224, 192, 160, 128]);
        let mut expected: Vec<_> = two.map(|side| (side, 2)).into_iter().chain(one.map(|side| (side, 1))).collect();
        expected.sort_by_key(|level| std::cmp::Reverse(*level));
        assert_eq!(square, expected.iter().map(|&(side, steps)| (side, side, steps)).collect::<Vec<_>>());
        assert_eq!(
            of(Level::all(&params(640, 384, &[20, 30, 40])))[..5],
            [(640, 384, 3), (640, 384, 2), (640, 384, 1), (512, 320, 2), (512, 320, 1)]
        );
        assert_eq!(of(Level::all(&params(64, 64, &[41]))), [(64, 64, 1)]);
    }

    #[test]
    fn every_level_has_valid_parameters_with_the_first_steps() {
        for (width, height) in [(512, 512), (2048, 64), (72, 2048), (64, 64), (1016, 1024)] {
            let params = params(width, height, &[10, 20, 41]);
            for level in Level::all(&params) {
                let applied = level.apply(&params);
                assert!(applied.validate().is_ok(), "{level:?}");
                assert_eq!(Level::of(&applied), level);
                assert_eq!(applied.t_index_list, params.t_index_list[..level.steps]);
            }
        }
    }

    #[test]
    fn the_best_level_within_the_time_is_chosen() {
        let params = params(512, 512, &[41, 46]);
        // 9 ms at 192 with one step, 2 of them in the UNet, are 64 ms at 512 with one step, and 49 ms at 448.
        assert_eq!(choose(&params, level(192, 192, 1), ms(9, 2)), level(448, 448, 1));
        assert_eq!(choose(&params, level(192, 192, 1), ms(1, 0)), level(512, 512, 2));
        // Pictures of 192 may take longer than larger ones.
        assert_eq!(choose(&params, level(192, 192, 1), ms(58, 10)), level(192, 192, 1));
        assert_eq!(choose(&params, level(192, 192, 1), ms(99, 10)), level(192, 192, 1));
        assert_eq!(choose(&params, level(192, 192, 1), ms(900, 10)), level(128, 128, 1));
    }

    /// Runs a machine for `seconds`: a frame at 256 with one step takes `time(seconds)` milliseconds, the UNet a fifth of it.
    fn run(seconds: u64, start: Level, time: impl Fn(u64) -> u64) -> Vec<(u64, Level)> {
        let params = params(512, 512, &[41, 46]);
        let (mut controller, mut current, mut changes) = (Controller::default(), start, Vec::new());
        controller.start(0);
        for now in (0..seconds * 1000).step_by(250) {
            let base = time(now / 1000);
            let total = current.predict(level(256, 256, 1), ms(base, base / 5));
            let time = FrameTime { total, unet: total / 5 };
            if let Some(next) = controller.decide(now, &params, current, time) {
                assert_ne!(next, current);
                current = next;
                changes.push((now / 1000, next));
            }
        }
        changes
    }

    #[test]
    fn a_busier_machine_gets_a_cheaper_level_at_once_and_a_freer_one_a_better_level_later() {
        let start = choose(&params(512, 512, &[41, 46]), level(256, 256, 1), ms(20, 4));
        let changes = run(60, start, |second| if (20..40).contains(&second) { 80 } else { 20 });
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert_eq!((changes[0].0, changes[1].0), (20, 45), "{changes:?}");
        assert!(changes[0].1.width <= 224 && changes[1].1.width >= 384, "{changes:?}");
    }

    #[test]
    fn a_machine_that_stays_the_same_keeps_its_level() {
        for time in [5, 20, 40, 70, 200, 1000] {
            let start = choose(&params(512, 512, &[41, 46]), level(256, 256, 1), ms(time, time / 5));
            assert_eq!(run(100, start, |_| time), [], "{time} ms");
        }
    }

    #[test]
    fn a_level_that_proves_too_slow_is_tried_again_less_and_less_often() {
        // Each time that the level is above 256, something else takes the processor.
        let params = params(512, 512, &[41]);
        let (mut controller, mut current, mut tries) = (Controller::default(), level(256, 256, 1), Vec::new());
        for now in (0..600_000).step_by(250) {
            let time = if current.width > 256 { ms(120, 20) } else { ms(25, 5) };
            if let Some(next) = controller.decide(now, &params, current, time) {
                if next.width > current.width {
                    tries.push(now / 1000);
                }
                current = if next.width > 256 { next } else { level(256, 256, 1) };
            }
        }
        let gaps: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.is_sorted() && tries.len() < 12 && gaps.last() > Some(&100), "{tries:?}");
    }
}
