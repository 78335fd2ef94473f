//! Cost of the steps of a network.

use super::step::CompiledStep;
use crate::exec::{StepBytes, StepTime};
use crate::net::steps::{PlanValue, Product, StepKind};

/// Returns the description of a step with values of `size` bytes, and its number of multiplications and additions in
/// products.
pub(super) fn describe(compiled: &CompiledStep, values: &[PlanValue], size: usize) -> StepTime {
    let step = &compiled.planned.step;
    let (x, out) = (values[step.inputs[0]].shape, values[step.output].shape);
    let image = format!("{}x{}x{}", out.n, out.h, out.w);
    let (what, operations) = match step.kind {
        StepKind::Product(Product { kernel, stride, dilation, upsample, geglu, bytes, .. }) => {
            let c_out = if geglu { 2 * out.c } else { out.c };
            let mut what = match kernel {
                1 => "linear".to_owned(),
                _ => format!("conv{kernel}x{kernel}"),
            };
            for (is, word) in [
                (stride > 1, "/2"),
                (dilation > 1, " dilated"),
                (upsample, " up"),
                (geglu, " geglu"),
                (bytes.is_some(), " int8"),
            ] {
                what.push_str(if is { word } else { "" });
            }
            let sums = (out.n * out.pixels() * c_out * x.c) as f64;
            (format!("{what} {}->{c_out} @{image}", x.c), 2.0 * sums * (kernel * kernel) as f64)
        }
        StepKind::Attention { heads, keys, .. } => {
            let operations = 4.0 * (out.n * x.pixels() * keys * x.c) as f64;
            (format!("attention {heads} heads, {}x{} tokens, {} channels", x.pixels(), keys, x.c), operations)
        }
        StepKind::Inject { .. } => (format!("injection {} @{image}", out.c), 0.0),
        StepKind::Depthwise(_) => (format!("depthwise {} @{image}", out.c), 0.0),
        StepKind::Image(_) => (format!("image {} @{image}", out.c), 0.0),
        StepKind::GroupNorm { .. } => (format!("group norm {} @{image}", out.c), 0.0),
        StepKind::LayerNorm { .. } => (format!("layer norm {} @{image}", out.c), 0.0),
        StepKind::PackKeys { heads } => (format!("keys of {heads} heads, {} tokens", x.pixels()), 0.0),
        StepKind::Pointwise => (format!("pointwise {} @{image}", out.c), 0.0),
        StepKind::Mul => (format!("product of two {} @{image}", out.c), 0.0),
        StepKind::Geglu => (format!("geglu {} @{image}", out.c), 0.0),
        StepKind::Concat => (format!("concat {} @{image}", out.c), 0.0),
        StepKind::Upsample => (format!("upsample {} @{image}", out.c), 0.0),
        StepKind::Embed { .. } | StepKind::AddWeight { .. } | StepKind::TakeToken => ("tokens".to_owned(), 0.0),
        StepKind::Import => (format!("import {} @{image}", out.c), 0.0),
        StepKind::ToBytes { .. } => (format!("to bytes {} @{image}", out.c), 0.0),
    };
    let elements = step.reads().chain([step.output]).map(|value| values[value].shape.len()).sum::<usize>();
    let bytes = StepBytes { weights: compiled.weight_bytes(), values: elements * size };
    StepTime::new(what, operations, bytes)
}
