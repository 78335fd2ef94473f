//! The toy networks of the specification's section 19.2, over rows of any length.

use std::sync::Arc;

use crate::Result;
use crate::exec::{HostQueue, View, ViewMut};
use crate::params::CfgType;
use crate::schedule::{Betas, Spacing, StepTable, UpdateRule, grid};
use crate::stream::guidance::{TextRow, UnetRow, rows, stage_rows};
use crate::stream::noise::Generator;
use crate::stream::{Call, Predict, StreamBatch, StreamConfig};

/// Predicts `0.5 x + 0.0004 t` for the prompt and `0.3 x + 0.0002 t` for the negative prompt.
pub(super) struct Toy {
    table: Arc<StepTable>,
    cfg_type: CfgType,
    active: bool,
    /// Every call, with the number of rows.
    pub(super) calls: Vec<(Call, usize)>,
    /// The rows of the last call.
    pub(super) seen: Vec<f32>,
}

impl Toy {
    /// Creates the networks that `stream` needs.
    pub(super) fn of(stream: &StreamBatch) -> Self {
        let StreamConfig { table, cfg_type, guidance_scale, .. } = stream.config();
        let active = cfg_type.active(*guidance_scale);
        Self { table: table.clone(), cfg_type: *cfg_type, active, calls: Vec::new(), seen: Vec::new() }
    }
}

impl Predict for Toy {
    fn predict(&mut self, call: Call, x: View<'_>, mut eps: ViewMut<'_>) -> Result<()> {
        let (x, eps) = (x.host()?, eps.host()?);
        let rows = match call {
            Call::Batch => rows(self.cfg_type, self.active, self.table.steps().len()),
            Call::Stage(stage) => stage_rows(self.cfg_type, self.active, stage),
        };
        assert_eq!(x.len(), eps.len());
        let row_len = x.len() / rows.len();
        for (UnetRow { stage, text }, (x, eps)) in rows.iter().zip(x.chunks(row_len).zip(eps.chunks_mut(row_len))) {
            let (slope, rise) = if *text == TextRow::Prompt { (0.5, 0.0004) } else { (0.3, 0.0002) };
            let timestep = f64::from(self.table.steps()[*stage].timestep);
            for (x, eps) in x.iter().zip(eps) {
                *eps = (slope * f64::from(*x) + rise * timestep) as f32;
            }
        }
        self.calls.push((call, rows.len()));
        self.seen.clear();
        self.seen.extend_from_slice(x);
        Ok(())
    }
}

/// Returns the table of `t_index_list` on the grid of 50, with LCM's rule.
pub(super) fn table(t_index_list: &[usize]) -> Arc<StepTable> {
    table_with(t_index_list, UpdateRule::Lcm)
}

/// Returns the table of `t_index_list` on the grid of 50.
pub(super) fn table_with(t_index_list: &[usize], rule: UpdateRule) -> Arc<StepTable> {
    let alphas = Betas::default().alphas_cumprod().unwrap();
    let grid = grid(Spacing::Lcm, 50, 1000).unwrap();
    Arc::new(StepTable::new(&grid, &alphas, t_index_list, rule).unwrap())
}

/// Returns a batched configuration with the noise `noise`, and self guidance 1.4 with delta 0.5.
pub(super) fn config(t_index_list: &[usize], noise: &[f32]) -> StreamConfig {
    StreamConfig {
        table: table(t_index_list),
        noise: Arc::new(noise.to_vec().into()),
        cfg_type: CfgType::SelfNegative,
        guidance_scale: 1.4,
        delta: 0.5,
        do_add_noise: true,
        batched: true,
    }
}

/// Returns noise for `rows` rows of `row_len` elements; row `i` does not depend on `rows`.
pub(super) fn noise(rows: usize, row_len: usize) -> Vec<f32> {
    Generator::Philox.draw(789, rows * row_len).unwrap()
}

/// Returns a frame that depends on `number`.
pub(super) fn frame(number: usize, row_len: usize) -> Vec<f32> {
    (0..row_len).map(|k| ((number * 7 + k * 3) % 11) as f32 * 0.2 - 1.0).collect()
}

/// Runs frame `number` through `stream` with the toy networks; returns the clean latent and the id of its frame.
pub(super) fn step(stream: &mut StreamBatch, number: usize, row_len: usize) -> (Vec<f32>, u64) {
    let mut out = vec![0.0; row_len];
    let source = stream.step(&frame(number, row_len), number as u64, &mut Toy::of(stream), &mut out).unwrap();
    (out, source)
}

/// Creates a stream without frames, in host memory.
pub(super) fn new_stream(row_len: usize, config: StreamConfig) -> Result<StreamBatch> {
    StreamBatch::new(Arc::new(HostQueue), row_len, config)
}

/// Runs frames through a new stream of `config`.
pub(super) fn run(config: &StreamConfig, row_len: usize, frames: std::ops::Range<usize>) -> Vec<(Vec<f32>, u64)> {
    let mut stream = new_stream(row_len, config.clone()).unwrap();
    frames.map(|number| step(&mut stream, number, row_len)).collect()
}
