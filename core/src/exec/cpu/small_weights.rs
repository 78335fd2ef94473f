//! Weights other than those of products: norms, embedding tables.

use dreamframe_kernels::{Kernels, Number};

use super::pack::{layout, read};
use super::span::Aligned;
use crate::error::{Error, ErrorKind, Result};
use crate::net::{AlignedBytes, Weights};

/// Returns an embedding table, in the storage format.
pub(super) fn table(
    weights: &Weights,
    name: &str,
    shape: &[usize],
    kernels: &Kernels,
) -> Result<std::sync::Arc<Aligned>> {
    fn convert<T: Number>(elements: &[f32]) -> Option<Aligned> {
        let mut table = Aligned::zeros::<T>(elements.len())?;
        T::convert(elements, table.elements_mut());
        Some(table)
    }
    let len = shape.iter().product::<usize>() * kernels.size;
    let restore = |buffers| only(buffers, len);
    weights.stored(&layout(kernels), &[name], "table", restore, || {
        let elements = read(weights, name, shape)?;
        let table = if kernels.stores_f32() { convert::<f32>(&elements) } else { convert::<u16>(&elements) };
        table.ok_or_else(|| Error::new(ErrorKind::OutOfMemory, format!("failed to allocate {name}")))
    })
}

/// Returns an unpacked weight, in `f32`.
pub(super) fn plain(
    weights: &Weights,
    name: &str,
    shape: &[usize],
    kernels: &Kernels,
) -> Result<std::sync::Arc<Aligned>> {
    let len = shape.iter().product::<usize>() * size_of::<f32>();
    let restore = |buffers| only(buffers, len);
    weights.stored(&layout(kernels), &[name], "plain", restore, || {
        let elements = read(weights, name, shape)?;
        let out_of_memory = || Error::new(ErrorKind::OutOfMemory, format!("failed to allocate {name}"));
        let mut plain = Aligned::zeros::<f32>(elements.len()).ok_or_else(out_of_memory)?;
        plain.elements_mut().copy_from_slice(&elements);
        Ok(plain)
    })
}

/// Returns the biases of a depthwise convolution (zeros if it has none), then its weights tap by tap, in `f32`.
pub(super) fn taps(
    weights: &Weights,
    name: &str,
    bias: Option<&str>,
    shape: &[usize],
    kernels: &Kernels,
) -> Result<std::sync::Arc<Aligned>> {
    let (channels, taps) = (shape[0], shape[1..].iter().product::<usize>());
    let len = channels * (taps + 1);
    let restore = |buffers| only(buffers, len * size_of::<f32>());
    let names: Vec<&str> = [Some(name), bias].into_iter().flatten().collect();
    weights.stored(&layout(kernels), &names, "taps", restore, || {
        let elements = read(weights, name, shape)?;
        let out_of_memory = || Error::new(ErrorKind::OutOfMemory, format!("failed to allocate {name}"));
        let mut table = Aligned::zeros::<f32>(len).ok_or_else(out_of_memory)?;
        let (first, rest) = table.elements_mut::<f32>().split_at_mut(channels);
        if let Some(bias) = bias {
            first.copy_from_slice(&read(weights, bias, &[channels])?);
        }
        for (tap, row) in rest.chunks_exact_mut(channels).enumerate() {
            row.iter_mut().enumerate().for_each(|(channel, to)| *to = elements[channel * taps + tap]);
        }
        Ok(table)
    })
}

/// Returns the only one of `buffers`, if it has `len` bytes.
fn only(mut buffers: Vec<AlignedBytes>, len: usize) -> Option<Aligned> {
    let only = buffers.pop().filter(|_| buffers.is_empty())?;
    Aligned::of_len(only, len)
}
