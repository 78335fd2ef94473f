//! Weights in the layout of the micro-kernels: panels of output channels, see [`Panels`].

use dreamframe_kernels::{ByteKernels, Kernels, Number, Panel, Panels, TileKernel, phase_of, weight_bytes};

use super::span::Aligned;
use crate::error::{Error, ErrorKind, Result};
use crate::net::{AlignedBytes, PackedForm, PackedLayout, Weights, elements};

/// A packed weight with its bias.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) panels: Vec<Panel>,
    /// Weights of all panels, in the storage format or as bytes.
    weights: Aligned,
    /// Bytes of a weight.
    size: usize,
    /// Size of a group of interleaved channels.
    group: usize,
    /// Total width of all panels.
    width: usize,
    /// For each column the bias in `f32`, zero if there is none. For bytes, followed by the scale of each column, and
    /// by the sum of its weights, an integer below 2^24, which `f32` represents exactly.
    columns: Aligned,
    /// The kernels for bytes, if the weights are bytes.
    bytes: Option<&'static ByteKernels>,
    /// Taps of the kernel.
    pub(super) taps: usize,
    /// Input channels.
    pub(super) c_in: usize,
    /// Whether there is a single narrow panel, in the layout of [`Kernels::narrow`].
    narrow: bool,
    /// Whether each panel has values in its first half and their gates in the second.
    pub(super) geglu: bool,
}

/// The version of the packed layout: other versions are incompatible.
const VERSION: u32 = 1;

/// The name of the packed layout of `kernels`, for storage.
pub(super) fn layout(kernels: &Kernels) -> PackedLayout {
    PackedLayout { name: kernels.isa.name().to_owned(), version: VERSION }
}

impl PackedForm for Vec<Packed> {
    fn buffers(&self) -> Vec<&[u8]> {
        self.iter().flat_map(|packed| [packed.weights.bytes(), packed.columns.bytes()]).collect()
    }
}

/// The packing of a weight.
#[derive(Debug, Clone, Copy)]
struct Packing {
    /// Output channels, input channels, taps.
    shape: [usize; 3],
    geglu: bool,
    winograd: Option<usize>,
    bytes: Option<&'static ByteKernels>,
}

impl Packed {
    /// Packs a weight into buffers, which `memory` allocates by size in bytes: first the weights, then biases and
    /// scales.
    fn over(packing: Packing, kernels: &Kernels, mut memory: impl FnMut(usize) -> Option<Aligned>) -> Option<Self> {
        let Packing { shape: [c_out, c_in, taps], geglu, winograd, bytes } = packing;
        let (group, size) = bytes.map_or((kernels.group, kernels.size), |bytes| (bytes.group, 1));
        let grouped = c_in.next_multiple_of(group);
        let panels = panels(c_out, grouped * taps, geglu, kernels);
        let width: usize = panels.iter().map(|panel| panel.vectors * kernels.lanes).sum();
        let factors = kernels.lanes * group;
        let few = c_out <= kernels.narrow.len() && c_in.is_multiple_of(factors) && c_in * taps <= NARROW;
        let narrow = few && !geglu && winograd.is_none() && bytes.is_none();
        let weights = memory(width * grouped * taps * size)?;
        let columns = memory(width * size_of::<f32>() * if bytes.is_some() { 3 } else { 1 })?;
        Some(Self { panels, weights, size, group, width, columns, bytes, taps, c_in, narrow, geglu })
    }

    /// Bytes of all weights.
    pub(super) fn bytes(&self) -> usize {
        self.weights.len()
    }

    /// Returns the weights of a panel, beginning at `first`.
    pub(super) fn panel(&self, panel: Panel, first: usize) -> *const u8 {
        debug_assert!((panel.offset + first) * self.size < self.weights.len());
        self.weights.ptr().wrapping_add((panel.offset + first) * self.size)
    }

    /// The biases of a panel.
    pub(super) fn biases(&self, panel: Panel) -> *const f32 {
        self.columns.elements::<f32>()[panel.bias..].as_ptr()
    }

    /// Returns scale and sum of the weights of each column; `None` if the weights are not bytes.
    pub(super) fn scales_and_sums(&self) -> Option<(&[f32], &[f32])> {
        let of_bytes = self.columns.elements().get(self.width..).filter(|_| self.bytes.is_some())?;
        of_bytes.split_at_checked(self.width)
    }

    /// Writes a value of each output channel to its column, from `first` on.
    fn write_columns(&mut self, first: usize, elements: &[f32], lanes: usize) {
        let (parts, half) = if self.geglu { (2, elements.len() / 2) } else { (1, 0) };
        let columns = &mut self.columns.elements_mut::<f32>()[first..];
        for panel in &self.panels {
            for part in 0..parts {
                let index = panel.bias + part * panel.vectors * lanes / 2;
                let of = &elements[part * half + panel.channel..][..panel.channels];
                columns[index..][..panel.channels].copy_from_slice(of);
            }
        }
    }

    /// Returns the distance from a channel's weights to those of the next tap, in a panel of `width`.
    pub(super) fn tap_len(&self, width: usize) -> usize {
        self.c_in.next_multiple_of(self.group) * width
    }

    /// Whether the last group is padded with channels of zeros.
    pub(super) fn is_padded(&self) -> bool {
        !self.c_in.is_multiple_of(self.group)
    }

    /// Bytes of a weight.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Size of a group of interleaved channels.
    pub(super) fn group(&self) -> usize {
        self.group
    }

    /// By how much the bytes of rows are less than the quantized values.
    pub(super) fn less(&self) -> i32 {
        if self.bytes.is_some_and(|bytes| bytes.signed) { 128 } else { 0 }
    }

    /// Returns the tile kernel of a panel, and the distance between its channels.
    pub(super) fn kernel(&self, panel: Panel, kernels: &Kernels) -> (TileKernel, usize) {
        if self.narrow {
            (kernels.narrow[panel.channels - 1], panel.channels)
        } else {
            (self.bytes.map_or(kernels.tiles, |bytes| bytes.tiles)[panel.vectors - 1], panel.vectors * kernels.lanes)
        }
    }
}

/// A weight and its bias, by name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) weight: &'a str,
    pub(super) bias: Option<&'a str>,
    pub(super) c_out: usize,
    pub(super) c_in: usize,
    /// Side of the kernel; `None` for a linear layer with a two-dimensional weight.
    pub(super) kernel: Option<usize>,
    pub(super) geglu: bool,
    /// Whether a 3x3 kernel is converted to four 2x2 kernels, one for each of the four output pixels of an input pixel
    /// that is upsampled.
    pub(super) phases: bool,
    /// Whether a 3x3 kernel is stored in Winograd's domain, for tiles of this many output pixels per side.
    pub(super) winograd: Option<usize>,
    /// The kernels for bytes, if the weights become bytes.
    pub(super) bytes: Option<&'static ByteKernels>,
}

impl Source<'_> {
    /// Returns the packed forms (four for phases, otherwise one), created once for all plans over `weights`.
    pub(super) fn pack(&self, weights: &Weights, kernels: &Kernels) -> Result<std::sync::Arc<Vec<Packed>>> {
        let form = match self.winograd {
            Some(side) => format!("winograd{side}"),
            None if self.phases => "phases".to_owned(),
            None if self.geglu => "geglu".to_owned(),
            None => "panels".to_owned(),
        };
        let bytes = if self.bytes.is_some() { "bytes." } else { "" };
        // The key includes whether there is a bias.
        let names = [self.weight, self.bias.unwrap_or_default()];
        let restore = |buffers| self.restore(buffers, kernels);
        weights.stored(&layout(kernels), &names, &format!("{bytes}{form}"), restore, || {
            let bias = match self.bias {
                Some(name) => Some(read(weights, name, &[self.c_out])?),
                None => None,
            };
            let shape = match self.kernel {
                Some(side) => vec![self.c_out, self.c_in, side, side],
                None => vec![self.c_out, self.c_in],
            };
            let elements = read(weights, self.weight, &shape)?;
            let packing = self.packing();
            let pack = |elements: &[f32]| {
                let packed = match packing.bytes {
                    Some(_) => pack_bytes(elements, bias.as_deref(), packing, kernels),
                    None if kernels.stores_f32() => pack::<f32>(elements, bias.as_deref(), packing, kernels),
                    None => pack::<u16>(elements, bias.as_deref(), packing, kernels),
                };
                packed.map_err(|error| error.within(self.weight))
            };
            if self.phases {
                return (0..4).map(|phase| pack(&phase_of(&elements, phase / 2, phase % 2))).collect();
            }
            Ok(vec![pack(&elements)?])
        })
    }

    fn packing(&self) -> Packing {
        let shape = [self.c_out, self.c_in, self.forms().1];
        Packing { shape, geglu: self.geglu, winograd: self.winograd, bytes: self.bytes }
    }

    /// Returns the number of packed forms, and the number of taps of each.
    fn forms(&self) -> (usize, usize) {
        match self.winograd {
            Some(side) => (1, (side + 2) * (side + 2)),
            None if self.phases => (4, 4),
            None => (1, self.kernel.map_or(1, |side| side * side)),
        }
    }

    /// Returns the packed forms in buffers of an earlier process, if their sizes match.
    fn restore(&self, buffers: Vec<AlignedBytes>, kernels: &Kernels) -> Option<Vec<Packed>> {
        let (count, _) = self.forms();
        let mut buffers = buffers.into_iter();
        let mut next = |len| Aligned::of_len(buffers.next()?, len);
        let forms = (0..count).map(|_| Packed::over(self.packing(), kernels, &mut next));
        let forms = forms.collect::<Option<Vec<_>>>()?;
        buffers.next().is_none().then_some(forms)
    }

    /// Returns the number of elements of the weight.
    pub(super) fn len(&self) -> usize {
        self.c_out * self.c_in * self.kernel.map_or(1, |side| side * side)
    }
}

/// Splits output channels into panels of maximum width; the last may be narrower. `k` is the number of weights of each
/// channel.
fn panels(c_out: usize, k: usize, geglu: bool, kernels: &Kernels) -> Vec<Panel> {
    // A panel of values and gates has the same number of vectors of each.
    let (c_out, share) = if geglu { (c_out / 2, 2) } else { (c_out, 1) };
    let widest = kernels.tiles.len() / share;
    let mut panels = Vec::new();
    let (mut channel, mut offset, mut bias) = (0, 0, 0);
    while channel < c_out {
        let vectors = (c_out - channel).div_ceil(kernels.lanes).min(widest);
        let channels = (c_out - channel).min(vectors * kernels.lanes);
        let vectors = vectors * share;
        panels.push(Panel { vectors, offset, bias, channel, channels });
        offset += vectors * kernels.lanes * k;
        bias += vectors * kernels.lanes;
        channel += channels;
    }
    panels
}

/// Maximum number of weights of an output channel of a narrow panel, which are processed in one pass.
const NARROW: usize = 4096;

fn pack<T: Number>(elements: &[f32], bias: Option<&[f32]>, packing: Packing, kernels: &Kernels) -> Result<Packed> {
    let Packing { shape, geglu, winograd, .. } = packing;
    let too_large = || {
        let [c_out, c_in, taps] = shape;
        Error::new(ErrorKind::OutOfMemory, format!("failed to allocate {c_out}x{c_in}x{taps} packed weights"))
    };
    let mut packed = Packed::over(packing, kernels, Aligned::zeroed_bytes).ok_or_else(too_large)?;
    if let Some(bias) = bias {
        packed.write_columns(0, bias, kernels.lanes);
    }
    let Packed { group, narrow, panels, weights, .. } = &mut packed;
    let panels = Panels { panels, shape, geglu, winograd, group: *group, lanes: kernels.lanes, narrow: *narrow };
    panels.pack(elements, weights.elements_mut::<T>());
    Ok(packed)
}

/// Quantizes weights to bytes, with a scale for each output channel.
fn pack_bytes(elements: &[f32], bias: Option<&[f32]>, packing: Packing, kernels: &Kernels) -> Result<Packed> {
    let [c_out, c_in, taps] = packing.shape;
    let mut whole = elements::zeros(elements.len())?;
    let mut row_bytes = vec![0; c_in * taps];
    let (mut scales, mut sums) = (Vec::with_capacity(c_out), Vec::with_capacity(c_out));
    for (row, whole) in elements.chunks_exact(c_in * taps).zip(whole.chunks_exact_mut(c_in * taps)) {
        scales.push(weight_bytes(row, &mut row_bytes));
        sums.push(row_bytes.iter().map(|&byte| i32::from(byte)).sum::<i32>() as f32);
        whole.iter_mut().zip(&row_bytes).for_each(|(whole, &byte)| *whole = f32::from(byte));
    }
    let mut packed = pack::<i8>(&whole, bias, packing, kernels)?;
    for (part, elements) in [(1, scales), (2, sums)] {
        packed.write_columns(part * packed.width, &elements, kernels.lanes);
    }
    Ok(packed)
}

/// Reads a weight, and checks its length.
pub(super) fn read(weights: &Weights, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let elements = weights.source().read(name, shape)?;
    if elements.len() != shape.iter().product::<usize>() {
        let text = format!("{name}: got {} elements, expected those of the shape {shape:?}", elements.len());
        return Err(Error::new(ErrorKind::BadModel, text));
    }
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dreamframe_kernels::Isa;

    #[test]
    fn panels_cover_the_channels_and_the_last_is_narrow() {
        let kernels = Isa::Portable.kernels().unwrap();
        let found = panels(21, 10, false, kernels);
        let ends = found.iter().map(|panel| (panel.channel, panel.channels, panel.vectors)).collect::<Vec<_>>();
        assert_eq!(ends, [(0, 8, 2), (8, 8, 2), (16, 5, 2)]);
        assert_eq!(panels(17, 10, false, kernels).last().unwrap().vectors, 1);
    }

    #[test]
    fn gates_are_packed_next_to_their_values() {
        let kernels = Isa::Portable.kernels().unwrap();
        let elements = (0..12).map(|i| i as f32).collect::<Vec<_>>();
        let packing = Packing { shape: [6, 2, 1], geglu: true, winograd: None, bytes: None };
        let packed = pack::<f32>(&elements, Some(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), packing, kernels).unwrap();
        assert_eq!(packed.weights.elements::<f32>()[..8], [0.0, 2.0, 4.0, 0.0, 6.0, 8.0, 10.0, 0.0]);
        assert_eq!(packed.columns.elements::<f32>()[..8], [1.0, 2.0, 3.0, 0.0, 4.0, 5.0, 6.0, 0.0]);
    }
}
