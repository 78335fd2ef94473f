//! `StreamBatch`: frames enter at the noisiest stage, and each step advances every row by one stage.

use std::ops::Range;
use std::sync::Arc;

use super::guidance;
use super::rows::{Entering, Stage, guide};
use super::{Call, Predict, StreamConfig};
use crate::exec::{Buffer, Queue, View, ViewMut};
use crate::{Error, ErrorKind, Result};

/// The rows of a stream: successive frames at successive denoising stages.
///
/// The first frame fills all rows by additional predictions whose results are dropped, so that the first picture is
/// complete. Each later picture is made from the frame [`delay`](Self::delay) steps before.
///
/// [`configure`](Self::configure) changes the configuration between two frames. Rows in flight keep their latents, and
/// new values take effect immediately: the noise for rows that enter a stage, the coefficients for all rows. If stages
/// are added, each new row is the last prediction for the newest frame, at the noise level of its stage. If stages are
/// removed, the rows past the end are dropped.
///
/// Stock noise is computed while guidance uses it, and starts at the fixed noise of each stage. The frame that enters
/// always has the fixed noise of stage 0 as its stock noise, so that a stream of one stage does not feed back on
/// itself.
#[derive(Debug)]
pub struct StreamBatch {
    queue: Arc<dyn Queue>,
    config: StreamConfig,
    rows: StreamRows,
    /// The frame that `clean` and `residue` belong to after a step.
    newest: u64,
    /// Whether row 0 holds a frame that has entered and not yet advanced.
    entered: bool,
    /// Whether the rows after row 0 come from frames.
    primed: bool,
    /// The clean latent of the current row; after a step, that of the newest frame.
    clean: Buffer,
    /// The residue of the current row; after a step with stock noise, that of the newest frame.
    residue: Buffer,
}

/// The memory of a stream whose size depends on its configuration.
#[derive(Debug)]
pub struct StreamRows {
    layout: Layout,
    stages: Vec<Stage>,
    /// The rows in flight, concatenated: row 0 is the frame that enters, row `i` the frame at stage `i`. A single row
    /// without batching.
    x: Buffer,
    /// The stock noise of each row of `x`.
    stock: Buffer,
    /// The frame that each row of `x` was made from.
    sources: Vec<u64>,
    /// The input rows of the UNet, if guidance adds rows to those of `x`.
    input: Buffer,
    /// The UNet's predictions, in the order of its rows: negative rows first.
    eps: Buffer,
    /// The guided predictions of the rows of `x`, if there is guidance.
    guided: Buffer,
}

/// The parameters that determine the sizes of a stream's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    row_len: usize,
    stages: usize,
    rows: usize,
    /// Maximum number of negative rows of a call.
    negative_rows: usize,
    guided: bool,
}

impl Layout {
    fn of(row_len: usize, config: &StreamConfig) -> Self {
        let stages = config.table.steps().len();
        let rows = if config.batched { stages } else { 1 };
        let guided = config.cfg_type.active(config.guidance_scale);
        Self { row_len, stages, rows, negative_rows: guidance::negative_rows(config.cfg_type, guided, 0, rows), guided }
    }
}

impl StreamRows {
    /// Allocates the rows of a stream of `config` whose latents have `row_len` elements; `None` if those of `base` have
    /// the same sizes.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    pub fn replacing(
        queue: &dyn Queue,
        row_len: usize,
        base: Option<&StreamConfig>,
        config: &StreamConfig,
    ) -> Result<Option<Self>> {
        let layout = Layout::of(row_len, config);
        if base.is_some_and(|base| Layout::of(row_len, base) == layout) {
            return Ok(None);
        }
        Self::allocate(queue, layout).map(Some)
    }

    fn allocate(queue: &dyn Queue, layout: Layout) -> Result<Self> {
        let Layout { row_len, stages, rows, negative_rows, guided } = layout;
        let buffer = |rows: usize| queue.buffer(rows.saturating_mul(row_len));
        Ok(Self {
            layout,
            stages: Vec::with_capacity(stages),
            x: buffer(rows)?,
            stock: buffer(rows)?,
            sources: vec![0; rows],
            input: buffer(if negative_rows == 0 { 0 } else { negative_rows + rows })?,
            eps: buffer(negative_rows + rows)?,
            guided: buffer(if guided { rows } else { 0 })?,
        })
    }

    /// Copies the rows of `old`; additional rows have the source `newest`.
    fn copy_from(&mut self, queue: &dyn Queue, old: &Self, newest: u64) -> Result<()> {
        let same = 0..self.x.len().min(old.x.len());
        queue.copy(old.x.range(same.clone()), self.x.range_mut(same.clone()))?;
        queue.copy(old.stock.range(same.clone()), self.stock.range_mut(same))?;
        // Stages that are added are entered with what was predicted for the newest frame.
        let first = self.row(0);
        let predicted = if self.layout.guided { &mut self.guided } else { &mut self.eps };
        queue.copy(old.predicted(0), predicted.range_mut(first))?;
        self.sources.fill(newest);
        self.sources.iter_mut().zip(&old.sources).for_each(|(to, from)| *to = *from);
        Ok(())
    }

    /// Returns the guided prediction of `row`.
    fn predicted(&self, row: usize) -> View<'_> {
        // Without guidance there are no negative rows before those of `x`.
        if self.layout.guided { &self.guided } else { &self.eps }.range(self.row(row))
    }

    /// Returns the range of the elements of `row`.
    fn row(&self, row: usize) -> Range<usize> {
        let len = self.layout.row_len;
        row * len..(row + 1) * len
    }
}

impl StreamBatch {
    /// Creates a stream without frames, whose latents have `row_len` elements, in the memory of `queue`.
    ///
    /// # Errors
    ///
    /// Like [`configure`](Self::configure); `InvalidArgument` also for a `row_len` of 0, and `OutOfMemory`.
    pub fn new(queue: Arc<dyn Queue>, row_len: usize, config: StreamConfig) -> Result<Self> {
        if row_len == 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, "row: got 0 elements, expected at least 1"));
        }
        check(row_len, &config)?;
        let mut rows = StreamRows::allocate(&*queue, Layout::of(row_len, &config))?;
        rows.stages.extend(config.table.steps().iter().map(Stage::from));
        let (clean, residue) = (queue.buffer(row_len)?, queue.buffer(row_len)?);
        Ok(Self { queue, config, rows, newest: 0, entered: false, primed: false, clean, residue })
    }

    /// Returns the configuration.
    pub fn config(&self) -> &StreamConfig {
        &self.config
    }

    /// Returns the delay of a picture after its frame, in frames: 0 without batching.
    pub fn delay(&self) -> usize {
        if self.config.batched { self.config.table.delay() } else { 0 }
    }

    /// Changes the configuration, from the next step on.
    ///
    /// Switching `batched` drops the rows in flight, and so does an error of the device when all else has changed.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if `noise` does not have one row for each step of the table, or if `guidance_scale` or `delta`
    /// is not finite; nothing is changed then. `OutOfMemory`.
    pub fn configure(&mut self, config: StreamConfig) -> Result<()> {
        let row_len = self.rows.layout.row_len;
        check(row_len, &config)?;
        let mut rows = StreamRows::replacing(&*self.queue, row_len, Some(&self.config), &config)?;
        self.configure_with(config, &mut rows)
    }

    /// Like [`configure`](Self::configure), with memory that was allocated before: `rows` is the result of
    /// [`StreamRows::replacing`] for the configuration in use and `config`. Allocates nothing; `rows` then contains the
    /// memory that is no longer needed.
    ///
    /// # Errors
    ///
    /// As `configure`; `InvalidArgument` for `rows` of another configuration.
    pub fn configure_with(&mut self, config: StreamConfig, rows: &mut Option<StreamRows>) -> Result<()> {
        let row_len = self.rows.layout.row_len;
        check(row_len, &config)?;
        let layout = rows.as_ref().map_or(self.rows.layout, |rows| rows.layout);
        if layout != Layout::of(row_len, &config) {
            let text = "the rows of the stream were allocated for another configuration";
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        if let Some(rows) = rows {
            rows.copy_from(&*self.queue, &self.rows, self.newest)?;
            std::mem::swap(&mut self.rows, rows);
        }
        let had_stages = rows.as_ref().map_or(layout.stages, |old| old.layout.stages);
        let had_stock = self.keeps_stock() && self.primed;
        self.primed &= config.batched == self.config.batched;
        self.config = config;
        self.rows.stages.clear();
        self.rows.stages.extend(self.config.table.steps().iter().map(Stage::from));
        if self.config.batched && self.primed && self.fill_stages(had_stages, had_stock).is_err() {
            // The configuration has changed; the next frame fills all rows.
            self.reset();
        }
        Ok(())
    }

    /// Computes what a change of the configuration has added to the rows in flight: those from stage `had_stages` on, and
    /// stock noise unless they `had_stock`.
    fn fill_stages(&mut self, had_stages: usize, had_stock: bool) -> Result<()> {
        if self.keeps_stock() && !had_stock {
            self.queue.copy(self.config.noise.view(), self.rows.stock.view_mut())?;
            self.queue.clear(self.residue.view_mut())?;
        }
        (had_stages..self.rows.layout.stages).try_for_each(|stage| self.enter_stage(stage, stage, 0))
    }

    /// Drops the rows in flight: the next frame fills all rows, like the first one.
    pub fn reset(&mut self) {
        self.primed = false;
        self.entered = false;
    }

    /// Adds a frame: `latent` is the clean latent, `source` the caller's id of the frame.
    ///
    /// Returns the noised latent of row 0, which may be modified before [`advance`](Self::advance). A frame that
    /// entered and has not advanced yet is replaced.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if `latent` is not one row; those of the device.
    pub fn enter<'a>(&mut self, latent: impl Into<View<'a>>, source: u64) -> Result<ViewMut<'_>> {
        let latent = latent.into();
        self.check_row("latent", latent.len())?;
        let Self { queue, rows, config, .. } = self;
        let first = rows.row(0);
        rows.stages[0].noise(&**queue, latent, config.noise.range(first.clone()), rows.x.range_mut(first.clone()))?;
        rows.sources[0] = source;
        self.entered = true;
        Ok(self.rows.x.range_mut(first))
    }

    /// Runs the UNet on the rows, advances them by one stage, and writes the clean latent of the last row to `out`.
    ///
    /// Returns the `source` of that row's frame. The first frame takes [`delay`](Self::delay) additional predictions.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if `out` is not one row or no frame has entered. Errors of `predictor`: the frame that entered
    /// is then dropped, and the other rows and `out` are unchanged. Errors of the device.
    pub fn advance<'a>(&mut self, predictor: &mut (impl Predict + ?Sized), out: impl Into<ViewMut<'a>>) -> Result<u64> {
        let out = out.into();
        self.check_row("out", out.len())?;
        if !std::mem::take(&mut self.entered) {
            return Err(Error::new(ErrorKind::InvalidArgument, "frames since the last step: got none, expected one"));
        }
        if !self.config.batched {
            self.run_all_stages(predictor)?;
            self.queue.copy(self.clean.view(), out)?;
            return Ok(self.rows.sources[0]);
        }
        if !self.primed {
            self.fill(predictor)?;
        }
        self.predict(Call::Batch, predictor)?;
        self.primed = true;
        self.newest = self.rows.sources[0];
        let last = self.delay();
        let source = self.rows.sources[last];
        self.finish(last, last)?;
        self.queue.copy(self.clean.view(), out)?;
        self.shift()?;
        Ok(source)
    }

    /// Adds a frame and advances: [`enter`](Self::enter), then [`advance`](Self::advance).
    ///
    /// # Errors
    ///
    /// Like those two.
    pub fn step<'a, 'b>(
        &mut self,
        latent: impl Into<View<'a>>,
        source: u64,
        predictor: &mut (impl Predict + ?Sized),
        out: impl Into<ViewMut<'b>>,
    ) -> Result<u64> {
        self.enter(latent, source)?;
        self.advance(predictor, out)
    }

    /// Fills all rows with the frame that entered.
    fn fill(&mut self, predictor: &mut (impl Predict + ?Sized)) -> Result<()> {
        if self.delay() > 0 {
            // Rows that no frame has reached take part in predictions, of which a predictor may keep something.
            let Self { queue, rows, .. } = self;
            let others = rows.layout.row_len..rows.x.len();
            queue.clear(rows.x.range_mut(others.clone()))?;
            queue.clear(rows.stock.range_mut(others))?;
        }
        for _ in 0..self.delay() {
            self.predict(Call::Batch, predictor)?;
            self.shift()?;
        }
        Ok(())
    }

    /// Runs row 0, the only row without batching, through all stages.
    fn run_all_stages(&mut self, predictor: &mut (impl Predict + ?Sized)) -> Result<()> {
        for stage in 0..self.rows.layout.stages {
            if stage > 0 {
                self.enter_stage(stage, 0, 0)?;
            }
            self.predict(Call::Stage(stage), predictor)?;
            self.finish(stage, 0)?;
        }
        Ok(())
    }

    /// Evaluates the predictions of `call`, and applies guidance if it is active.
    fn predict(&mut self, call: Call, predictor: &mut (impl Predict + ?Sized)) -> Result<()> {
        let StreamConfig { cfg_type, guidance_scale, delta, ref noise, .. } = self.config;
        let active = cfg_type.active(guidance_scale);
        let (first, count) = match call {
            Call::Batch => (0, self.rows.layout.stages),
            Call::Stage(stage) => (stage, 1),
        };
        let queue = &*self.queue;
        let first_row = self.rows.row(0);
        let StreamRows { x, stock, input, eps, guided, layout, .. } = &mut self.rows;
        let negative_rows = guidance::negative_rows(cfg_type, active, first, count) * layout.row_len;
        let all = negative_rows + x.len();
        if negative_rows == 0 {
            predictor.predict(call, x.view(), eps.range_mut(0..all))?;
        } else {
            queue.copy(x.range(0..negative_rows), input.range_mut(0..negative_rows))?;
            queue.copy(x.view(), input.range_mut(negative_rows..all))?;
            predictor.predict(call, input.range(0..all), eps.range_mut(0..all))?;
        }
        let (negative, prompt) = (eps.range(0..negative_rows), eps.range(negative_rows..all));
        if cfg_type.uses_stock(guidance_scale) {
            if first == 0 {
                let start = if negative_rows == 0 { noise.range(first_row.clone()) } else { negative };
                queue.copy(start, stock.range_mut(first_row))?;
            }
            guide(queue, (guidance_scale, delta), stock.view(), prompt, guided.view_mut())?;
        } else if active {
            guide(queue, (guidance_scale, 1.0), negative, prompt, guided.view_mut())?;
        }
        Ok(())
    }

    /// Computes the clean latent and the residue of `row`, which is at `stage`, from the guided prediction.
    fn finish(&mut self, stage: usize, row: usize) -> Result<()> {
        let keeps_stock = self.keeps_stock();
        let Self { queue, rows, clean, residue, .. } = self;
        let (here, eps) = (rows.row(row), rows.predicted(row));
        rows.stages[stage].denoise(&**queue, rows.x.range(here.clone()), eps, clean.view_mut())?;
        if keeps_stock {
            rows.stages[stage].residue(&**queue, rows.stock.range(here), eps, residue.view_mut())?;
        }
        Ok(())
    }

    /// Writes the row that was just finished, whose prediction is in row `from`, to `row`, at `stage`.
    fn enter_stage(&mut self, stage: usize, row: usize, from: usize) -> Result<()> {
        let keeps_stock = self.keeps_stock();
        let Self { queue, config, rows, clean, residue, .. } = self;
        let (here, noise) = (rows.row(row), config.noise.range(rows.row(stage)));
        let predicted = rows.row(from);
        let StreamRows { layout, stages, x, stock, eps, guided, .. } = rows;
        let predicted = if layout.guided { guided } else { eps }.range(predicted);
        let (coefficients, entering) = (&stages[stage], Entering { clean: clean.view(), predicted, noise });
        coefficients.enter(&**queue, &entering, config.do_add_noise, x.range_mut(here.clone()))?;
        if keeps_stock {
            coefficients.stock_noise(&**queue, &entering, residue.view(), stock.range_mut(here))?;
        }
        Ok(())
    }

    /// Finishes every row except the last and moves it to the next stage; the newest frame is finished last.
    fn shift(&mut self) -> Result<()> {
        for row in (0..self.delay()).rev() {
            self.finish(row, row)?;
            self.enter_stage(row + 1, row + 1, row)?;
            self.rows.sources[row + 1] = self.rows.sources[row];
        }
        Ok(())
    }

    fn keeps_stock(&self) -> bool {
        self.config.cfg_type.uses_stock(self.config.guidance_scale)
    }

    fn check_row(&self, name: &str, len: usize) -> Result<()> {
        let expected = self.rows.layout.row_len;
        if len == expected {
            return Ok(());
        }
        let text = format!("{name}: got {len} elements, expected {expected}, those of a row of the stream");
        Err(Error::new(ErrorKind::InvalidArgument, text))
    }
}

fn check(row_len: usize, config: &StreamConfig) -> Result<()> {
    let (steps, noise_len) = (config.table.steps().len(), config.noise.len());
    let problem = if row_len.checked_mul(steps) != Some(noise_len) {
        format!("noise: got {noise_len} elements, expected {steps} rows of {row_len}")
    } else if !config.guidance_scale.is_finite() {
        format!("guidance_scale: got {}, expected a finite number", config.guidance_scale)
    } else if !config.delta.is_finite() {
        format!("delta: got {}, expected a finite number", config.delta)
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::InvalidArgument, problem))
}

#[cfg(test)]
impl StreamBatch {
    /// Sets the rows from 1 on; row 0 is for the next frame.
    pub(super) fn set_in_flight(&mut self, x: &[f32], stock: &[f32]) {
        let others = self.rows.layout.row_len..self.rows.x.len();
        self.queue.upload(x, self.rows.x.range_mut(others.clone())).unwrap();
        self.queue.upload(stock, self.rows.stock.range_mut(others)).unwrap();
        self.primed = true;
    }

    /// Returns the latents and the stock noise of the rows from 1 on.
    pub(super) fn in_flight(&self) -> (&[f32], &[f32]) {
        let others = self.rows.layout.row_len..self.rows.x.len();
        [&self.rows.x, &self.rows.stock].map(|rows| rows.range(others.clone()).host().unwrap()).into()
    }
}
