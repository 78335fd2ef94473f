//! Compares the tile kernels of every instruction set with the definition of their sums.

#![allow(unsafe_code, reason = "calls kernels by themselves")]

use dreamframe_kernels::definitions::noise;
use dreamframe_kernels::{Isa, Kernels, Number, Panel, Panels, Tile, TileKernel};
use half::bf16;

const TAPS: usize = 2;

/// Channels: whole groups, parts of one, several runs of a loop.
const CHANNELS: [usize; 9] = [1, 3, 4, 7, 8, 21, 32, 66, 130];

/// What a tile multiplies, `[tap][row][channel]` and `[column][channel][tap]`, and its initial sums.
struct Case {
    rows: Vec<f32>,
    weights: Vec<f32>,
    start: Vec<f32>,
    channels: usize,
    /// Elements of a vector, and of a group.
    lanes: usize,
    group: usize,
}

impl Case {
    /// The sum of a row and a column, whose rows are `less` than those given.
    fn sum(&self, row: usize, column: usize, rows: usize, less: f64) -> f64 {
        let products = (0..TAPS).flat_map(|tap| (0..self.channels).map(move |c| (tap, c))).map(|(tap, c)| {
            let x = f64::from(self.rows[(tap * rows + row) * self.channels + c]) - less;
            x * f64::from(self.weights[(column * self.channels + c) * TAPS + tap])
        });
        f64::from(self.start[column]) + products.sum::<f64>()
    }

    /// Runs a kernel of panels of `vectors` vectors over rows and weights in their storage format.
    fn run<X: Copy, W: Number>(
        &self,
        kernel: TileKernel,
        vectors: usize,
        start: &[f32],
        x: impl Fn(f32) -> X,
    ) -> Vec<f32> {
        let Self { channels, lanes, group, .. } = *self;
        let width = vectors * lanes;
        let tap_stride = channels.next_multiple_of(group) * width;
        let panel = Panel { vectors, offset: 0, bias: 0, channel: 0, channels: width };
        let shape = [width, channels, TAPS];
        let panels = Panels { panels: &[panel], shape, geglu: false, winograd: None, group, lanes, narrow: false };
        let mut packed = vec![W::default(); TAPS * tap_stride];
        panels.pack(&self.weights, &mut packed);
        let rows: Vec<X> = self.rows.iter().map(|&number| x(number)).collect();
        let addresses: Vec<*const u8> = rows.chunks_exact(channels).map(|row| row.as_ptr().cast()).collect();
        let mut sums = vec![f32::NAN; kernel.rows * width];
        // SAFETY: the processor has the instructions, or there would be no kernel; all memory is as long as it says.
        unsafe {
            (kernel.run)(&Tile {
                rows: addresses.as_ptr(),
                taps: TAPS,
                offset: 0,
                len: channels,
                panel: packed.as_ptr().cast(),
                tap_stride,
                sums: sums.as_mut_ptr(),
                sums_ld: width,
                start: start.as_ptr(),
                scaled: None,
            });
        }
        sums
    }
}

/// Calls `check` for every kernel of `tiles`, with its number of vectors, and for every number of channels.
fn each(kernels: &Kernels, tiles: &[TileKernel], mut check: impl FnMut(TileKernel, usize, usize)) {
    // SAFETY: the processor has the instructions, or there would be no table.
    unsafe { (kernels.enter)() };
    for (i, &kernel) in tiles.iter().enumerate() {
        CHANNELS.iter().for_each(|&channels| check(kernel, i + 1, channels));
    }
    // SAFETY: as above.
    unsafe { (kernels.leave)() };
}

#[test]
fn sums_of_values_match_the_definition() {
    for kernels in Isa::ALL.into_iter().filter_map(Isa::kernels) {
        let stored = |x: f32| if kernels.stores_f32() { x } else { bf16::from_f32(x).to_f32() };
        each(kernels, kernels.tiles, |kernel, vectors, channels| {
            let numbers = |seed, len| noise(seed, len).into_iter().map(stored).collect::<Vec<_>>();
            let Kernels { lanes, group, isa, .. } = *kernels;
            let (rows, weights) = (kernel.rows * TAPS * channels, vectors * lanes * TAPS * channels);
            let start = noise(3, vectors * lanes);
            let case = Case { rows: numbers(1, rows), weights: numbers(2, weights), start, channels, lanes, group };
            let found = if kernels.stores_f32() {
                case.run::<f32, f32>(kernel, vectors, &case.start, |x| x)
            } else {
                case.run::<u16, u16>(kernel, vectors, &case.start, |x| bf16::from_f32(x).to_bits())
            };
            for (i, &found) in found.iter().enumerate() {
                let (row, column) = (i / (vectors * lanes), i % (vectors * lanes));
                let expected = case.sum(row, column, kernel.rows, 0.0);
                let error = (f64::from(found) - expected).abs();
                assert!(
                    error < 2e-5,
                    "{isa:?} {channels} channels, row {row}, column {column}: {found}, not {expected}"
                );
            }
        });
    }
}

#[test]
fn sums_of_bytes_are_exact() {
    for kernels in Isa::ALL.into_iter().filter_map(Isa::kernels) {
        let Some(bytes) = kernels.bytes else { continue };
        let less = if bytes.signed { 128 } else { 0 };
        each(kernels, bytes.tiles, |kernel, vectors, channels| {
            let scaled = |seed, len, by: f32, to: f32| {
                noise(seed, len).into_iter().map(|x| (x * by + to).round()).collect::<Vec<_>>()
            };
            let (lanes, group, isa) = (kernels.lanes, bytes.group, kernels.isa);
            let (rows, weights) = (kernel.rows * TAPS * channels, vectors * lanes * TAPS * channels);
            let (rows, weights) = (scaled(1, rows, 127.5, 127.5), scaled(2, weights, 127.0, 0.0));
            let start = scaled(3, vectors * lanes, 1000.0, 0.0);
            let whole: Vec<f32> = start.iter().map(|&x| f32::from_bits(x as i32 as u32)).collect();
            let case = Case { rows, weights, start, channels, lanes, group };
            let found = case.run::<u8, i8>(kernel, vectors, &whole, |x| (x as i32 - less) as u8);
            for (i, found) in found.iter().enumerate() {
                let (row, column) = (i / (vectors * lanes), i % (vectors * lanes));
                let expected = case.sum(row, column, kernel.rows, f64::from(less)) as i32;
                assert_eq!(found.to_bits() as i32, expected, "{isa:?} {channels} channels, row {row}, column {column}");
            }
        });
    }
}
