//! `StreamBatch`: frames enter at the noisiest stage, and each step moves every row one stage on.

use super::guidance;
use super::rows::{Stage, guide};
use super::{Call, Predict, StreamConfig};
use crate::{Error, ErrorKind, Result};

/// The rows of a stream: successive frames at successive denoising stages.
///
/// The first frame fills all rows by further predictions whose results are dropped, so that the first picture is whole;
/// from then on a picture is made from the frame [`delay`](Self::delay) steps before.
///
/// Every number can be changed between two frames by [`configure`](Self::configure). Rows in flight keep their latents,
/// and the new numbers count at once: the noise for rows that enter a stage, the coefficients for all. If there are more
/// stages than before, each new one goes on with what the last step predicted for the newest frame, at the noise of that
/// stage; if fewer, the rows past the end leave without a picture.
///
/// Stock noise is kept while guidance uses it, and starts at the fixed noise of each stage when it begins to. The frame
/// that enters always has the fixed noise of stage 0 as its stock, so that a stream of one stage cannot feed on itself.
#[derive(Debug)]
pub struct StreamBatch {
    row_len: usize,
    config: StreamConfig,
    stages: Vec<Stage>,
    /// What is in flight, one row after the other: row 0 the frame that enters, row `i` the one at stage `i`. One row
    /// alone without batching.
    x: Vec<f32>,
    /// The stock noise of each row of `x`.
    stock: Vec<f32>,
    /// The frame that each row of `x` was made from.
    sources: Vec<u64>,
    /// The frame that `clean` and `residue` stand for after a step.
    newest: u64,
    /// Whether row 0 holds a frame that has entered and not yet advanced.
    entered: bool,
    /// Whether the rows after row 0 come from frames.
    primed: bool,
    /// The UNet's rows, where they are more than those of `x`.
    input: Vec<f32>,
    eps: Vec<f32>,
    /// The clean latent of the row worked on; after a step, that of the newest frame.
    clean: Vec<f32>,
    /// The residue of the row worked on; after a step that keeps stock noise, that of the newest frame.
    residue: Vec<f32>,
}

impl StreamBatch {
    /// Makes a stream without frames, whose latents have `row_len` numbers.
    ///
    /// # Errors
    ///
    /// As [`configure`](Self::configure); `InvalidArgument` also for a `row_len` of 0.
    pub fn new(row_len: usize, config: StreamConfig) -> Result<Self> {
        if row_len == 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, "a row has 0 numbers, but must have at least 1"));
        }
        check(row_len, &config)?;
        let mut stream = Self {
            row_len,
            stages: Vec::new(),
            x: Vec::new(),
            stock: Vec::new(),
            sources: Vec::new(),
            newest: 0,
            entered: false,
            primed: false,
            input: Vec::new(),
            eps: Vec::new(),
            clean: vec![0.0; row_len],
            residue: vec![0.0; row_len],
            config,
        };
        stream.resize();
        Ok(stream)
    }

    /// Returns what the stream works by.
    pub fn config(&self) -> &StreamConfig {
        &self.config
    }

    /// Counts how many frames later than its input a picture leaves: 0 without batching.
    pub fn delay(&self) -> usize {
        if self.config.batched { self.config.table.delay() } else { 0 }
    }

    /// Changes what the stream works by, from the next step on.
    ///
    /// Switching `batched` drops the rows in flight.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, and nothing has changed, if `noise` has not one row for each step of the table, or if
    /// `guidance_scale` or `delta` is not finite.
    pub fn configure(&mut self, config: StreamConfig) -> Result<()> {
        check(self.row_len, &config)?;
        let had_stock = self.keeps_stock() && self.primed;
        let had_stages = self.stages.len();
        self.primed &= config.batched == self.config.batched;
        self.config = config;
        self.resize();
        if self.config.batched && self.primed {
            if self.keeps_stock() && !had_stock {
                self.stock.copy_from_slice(&self.config.noise);
                self.residue.fill(0.0);
            }
            for stage in had_stages..self.stages.len() {
                self.place(stage, stage);
            }
        }
        Ok(())
    }

    /// Drops the rows in flight: the next frame fills all rows, as the first one did.
    pub fn reset(&mut self) {
        self.primed = false;
        self.entered = false;
    }

    /// Takes a frame in: `latent` is the clean latent, `source` the caller's number for the frame.
    ///
    /// Gives the noised latent of row 0, which may be changed before [`advance`](Self::advance). A frame that entered
    /// before and did not advance is replaced.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if `latent` is not one row.
    pub fn enter(&mut self, latent: &[f32], source: u64) -> Result<&mut [f32]> {
        self.check_row("latent", latent)?;
        let (stage, first) = (&self.stages[0], 0..self.row_len);
        stage.noise(latent, &self.config.noise[first.clone()], &mut self.x[first.clone()]);
        self.sources[0] = source;
        self.entered = true;
        Ok(&mut self.x[first])
    }

    /// Runs the UNet over the rows, moves them one stage on and writes to `out` the clean latent of the row that leaves.
    ///
    /// Gives the `source` of that row's frame. The rows of the first frame take as many further predictions as
    /// [`delay`](Self::delay) has frames.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if `out` is not one row or no frame has entered. What `predictor` fails with: the frame that
    /// entered is then dropped, all others stay where they were, and `out` is as it was.
    pub fn advance(&mut self, predictor: &mut (impl Predict + ?Sized), out: &mut [f32]) -> Result<u64> {
        self.check_row("out", out)?;
        if !std::mem::take(&mut self.entered) {
            return Err(Error::new(ErrorKind::InvalidArgument, "no frame has entered since the last step"));
        }
        if !self.config.batched {
            self.run_through(predictor)?;
            out.copy_from_slice(&self.clean);
            return Ok(self.sources[0]);
        }
        if !self.primed {
            for _ in 0..self.delay() {
                self.predict(Call::Batch, predictor)?;
                self.shift();
            }
        }
        self.predict(Call::Batch, predictor)?;
        self.primed = true;
        self.newest = self.sources[0];
        let last = self.delay();
        let source = self.sources[last];
        self.finish(last, last);
        out.copy_from_slice(&self.clean);
        self.shift();
        Ok(source)
    }

    /// Takes a frame in and advances: [`enter`](Self::enter), then [`advance`](Self::advance).
    ///
    /// # Errors
    ///
    /// As those two.
    pub fn step(
        &mut self,
        latent: &[f32],
        source: u64,
        predictor: &mut (impl Predict + ?Sized),
        out: &mut [f32],
    ) -> Result<u64> {
        self.enter(latent, source)?;
        self.advance(predictor, out)
    }

    /// Takes row 0, the only one without batching, through all stages.
    fn run_through(&mut self, predictor: &mut (impl Predict + ?Sized)) -> Result<()> {
        for stage in 0..self.stages.len() {
            if stage > 0 {
                self.place(stage, 0);
            }
            self.predict(Call::Stage(stage), predictor)?;
            self.finish(stage, 0);
        }
        Ok(())
    }

    /// Asks for the predictions of `call` and combines them: afterwards the last rows of `eps` are the guided ones.
    fn predict(&mut self, call: Call, predictor: &mut (impl Predict + ?Sized)) -> Result<()> {
        let StreamConfig { cfg_type, guidance_scale, delta, ref noise, .. } = self.config;
        let active = cfg_type.active(guidance_scale);
        let (first, count) = match call {
            Call::Batch => (0, self.stages.len()),
            Call::Stage(stage) => (stage, 1),
        };
        let lead = guidance::lead(cfg_type, active, first, count) * self.row_len;
        let unused = self.lead_len() - lead;
        let eps = &mut self.eps[unused..];
        if lead == 0 {
            predictor.predict(call, &self.x, eps)?;
        } else {
            let input = &mut self.input[unused..];
            input[..lead].copy_from_slice(&self.x[..lead]);
            input[lead..].copy_from_slice(&self.x);
            predictor.predict(call, input, eps)?;
        }
        let (negative, prompt) = eps.split_at_mut(lead);
        if cfg_type.uses_stock(guidance_scale) {
            if first == 0 {
                let start = if lead == 0 { &noise[..self.row_len] } else { &*negative };
                self.stock[..self.row_len].copy_from_slice(start);
            }
            guide(guidance_scale, delta, &self.stock, prompt);
        } else if active {
            guide(guidance_scale, 1.0, negative, prompt);
        }
        Ok(())
    }

    /// Works out the clean latent and the residue of `row`, which is at `stage`, from the guided prediction.
    fn finish(&mut self, stage: usize, row: usize) {
        let here = row * self.row_len..(row + 1) * self.row_len;
        let eps = &self.eps[self.lead_len()..][here.clone()];
        self.stages[stage].denoise(&self.x[here.clone()], eps, &mut self.clean);
        if self.keeps_stock() {
            self.stages[stage].residue(&self.stock[here], eps, &mut self.residue);
        }
    }

    /// Brings what was just finished to `stage`, into `row`.
    fn place(&mut self, stage: usize, row: usize) {
        let here = row * self.row_len..(row + 1) * self.row_len;
        let noise = &self.config.noise[stage * self.row_len..(stage + 1) * self.row_len];
        if self.config.do_add_noise {
            self.stages[stage].noise(&self.clean, noise, &mut self.x[here.clone()]);
        } else {
            self.stages[stage].scale(&self.clean, &mut self.x[here.clone()]);
        }
        if self.keeps_stock() {
            self.stages[stage].restock(&self.residue, noise, &mut self.stock[here]);
        }
    }

    /// Finishes every row but the last and moves it one stage on; the newest frame is finished last.
    fn shift(&mut self) {
        for row in (0..self.delay()).rev() {
            self.finish(row, row);
            self.place(row + 1, row + 1);
            self.sources[row + 1] = self.sources[row];
        }
    }

    /// Gives every buffer the size that the configuration asks for; what stays keeps its place.
    fn resize(&mut self) {
        let StreamConfig { cfg_type, guidance_scale, batched, ref table, .. } = self.config;
        self.stages.clear();
        self.stages.extend(table.steps().iter().map(Stage::from));
        let rows = if batched { self.stages.len() } else { 1 };
        let lead = guidance::lead(cfg_type, cfg_type.active(guidance_scale), 0, rows);
        self.x.resize(rows * self.row_len, 0.0);
        self.stock.resize(rows * self.row_len, 0.0);
        self.sources.resize(rows, self.newest);
        self.eps.resize((lead + rows) * self.row_len, 0.0);
        self.input.resize(if lead == 0 { 0 } else { self.eps.len() }, 0.0);
    }

    /// How many numbers of `eps` stand before the prompt's rows.
    fn lead_len(&self) -> usize {
        self.eps.len() - self.x.len()
    }

    fn keeps_stock(&self) -> bool {
        self.config.cfg_type.uses_stock(self.config.guidance_scale)
    }

    fn check_row(&self, name: &str, row: &[f32]) -> Result<()> {
        if row.len() == self.row_len {
            return Ok(());
        }
        let text = format!("{name} has {} numbers, but a row of the stream has {}", row.len(), self.row_len);
        Err(Error::new(ErrorKind::InvalidArgument, text))
    }
}

fn check(row_len: usize, config: &StreamConfig) -> Result<()> {
    let (steps, numbers) = (config.table.steps().len(), config.noise.len());
    let problem = if row_len.checked_mul(steps) != Some(numbers) {
        format!("the noise has {numbers} numbers, but {steps} rows of {row_len} are needed")
    } else if !config.guidance_scale.is_finite() {
        format!("guidance_scale is {}, but must be finite", config.guidance_scale)
    } else if !config.delta.is_finite() {
        format!("delta is {}, but must be finite", config.delta)
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::InvalidArgument, problem))
}

#[cfg(test)]
impl StreamBatch {
    /// Takes rows 1 and up as given, as though frames had led there; row 0 is the next frame's.
    pub(super) fn set_in_flight(&mut self, x: &[f32], stock: &[f32]) {
        self.x[self.row_len..].copy_from_slice(x);
        self.stock[self.row_len..].copy_from_slice(stock);
        self.primed = true;
    }

    /// The latents and the stock noise of rows 1 and up.
    pub(super) fn in_flight(&self) -> (&[f32], &[f32]) {
        (&self.x[self.row_len..], &self.stock[self.row_len..])
    }
}
