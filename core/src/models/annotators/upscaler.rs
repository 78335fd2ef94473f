//! Real-ESRGAN's twofold enlargement: residual-in-residual dense blocks over pixels folded into channels.

use super::derived::dimensions;
use crate::error::{Error, ErrorKind, Result};
use crate::net::{Activation, Padding, Program, ProgramBuilder, Rate, Shape, ValueId, WeightSource};

/// The factor of each residual.
const RESIDUAL: f32 = 0.2;
/// The factor of negative values.
const SLOPE: f32 = 0.2;
/// Maximum number of blocks; the published network has 23.
const MOST_BLOCKS: usize = 64;
/// Channels of the picture: three colours of each two by two pixels.
const FOLDED: usize = 12;

/// The sizes of the network in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpscalerConfig {
    /// Channels between blocks: 64 in the published network.
    pub channels: usize,
    /// Channels that each layer of a block adds: 32 there.
    pub growth: usize,
    /// Blocks: 23 there.
    pub blocks: usize,
}

impl UpscalerConfig {
    /// Determines the sizes from the shapes of the weights.
    ///
    /// # Errors
    ///
    /// `BadModel` if they are not those of such a network, `Unsupported` for one that enlarges another number of times.
    pub fn of(weights: &dyn WeightSource) -> Result<Self> {
        let [channels, folded, ..] = dimensions::<4>(weights, "conv_first.weight")?;
        if folded != FOLDED {
            let text = format!(
                "input channels of the upscaler's first layer: got {folded}, expected {FOLDED} as in one that doubles the size"
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let [growth, ..] = dimensions::<4>(weights, "body.0.rdb1.conv1.weight")?;
        let there = |block: &usize| weights.shape(&format!("body.{block}.rdb1.conv1.weight")).is_some();
        let blocks = (0..MOST_BLOCKS).take_while(there).count();
        Ok(Self { channels, growth, blocks })
    }
}

/// Builds the network for a picture of twice `h` x `w` pixels in 0..1, each two by two of them folded into the channels
/// of one (all of a colour side by side); gives the picture twice as large.
///
/// # Errors
///
/// `BadModel` if its shapes are inconsistent.
pub fn upscaler_program(config: UpscalerConfig, h: usize, w: usize) -> Result<Program> {
    let UpscalerConfig { channels, growth, blocks } = config;
    let mut builder = ProgramBuilder::new("upscaler");
    let b = &mut builder;
    let picture = b.input("picture", Shape::new(1, h, w, FOLDED), Rate::Frame);
    let first = b.conv3x3("conv_first", picture, channels);
    let mut x = first;
    for block in 0..blocks {
        let before = x;
        for dense in 1..=3 {
            x = b.scope(format!("body.{block}.rdb{dense}"), |b| dense_block(b, x, growth));
        }
        x = residual(b, x, before);
    }
    let body = b.conv3x3("conv_body", x, channels);
    x = b.add(body, first);
    for name in ["conv_up1", "conv_up2"] {
        let wide = b.conv2d(name, x, channels, 3, 1, Padding::all(1), true, true);
        x = leaky(b, wide);
    }
    let x = b.conv3x3("conv_hr", x, channels);
    let x = leaky(b, x);
    let picture = b.conv3x3("conv_last", x, 3);
    b.output("picture", picture);
    builder.finish()
}

fn leaky(b: &mut ProgramBuilder, x: ValueId) -> ValueId {
    b.activate(x, Activation::LeakyRelu { slope: SLOPE })
}

fn residual(b: &mut ProgramBuilder, x: ValueId, before: ValueId) -> ValueId {
    let x = b.affine(x, RESIDUAL, 0.0);
    b.add(x, before)
}

/// Four layers that each see all before them, and one that sums them up.
fn dense_block(b: &mut ProgramBuilder, x: ValueId, growth: usize) -> ValueId {
    let channels = b.shape(x).c;
    let mut seen = x;
    for layer in 1..=4 {
        let new = b.conv3x3(&format!("conv{layer}"), seen, growth);
        let new = leaky(b, new);
        seen = b.concat(seen, new);
    }
    let sum = b.conv3x3("conv5", seen, channels);
    residual(b, sum, x)
}
