//! Weighted sums of pixels along rows and columns of an image.

/// Number of elements that are processed at a time.
const BLOCK: usize = 16;

/// Convolves `padded`, with elements `stride` apart, with `kernel`, into `to`.
///
/// # Panics
///
/// If `padded` has fewer than `to.len() + (kernel.len() - 1) * stride` elements.
pub fn correlate(padded: &[f32], kernel: &[f32], stride: usize, to: &mut [f32]) {
    let (blocks, rest) = to.as_chunks_mut::<BLOCK>();
    let done = blocks.len() * BLOCK;
    for (block, to) in blocks.iter_mut().enumerate() {
        let mut sums = [0.0; BLOCK];
        for (tap, weight) in kernel.iter().enumerate() {
            let from = &padded[block * BLOCK + tap * stride..][..BLOCK];
            for (sum, from) in sums.iter_mut().zip(from) {
                *sum += weight * from;
            }
        }
        *to = sums;
    }
    for (place, to) in rest.iter_mut().enumerate() {
        let from = &padded[done + place..];
        *to = kernel.iter().enumerate().map(|(tap, weight)| weight * from[tap * stride]).sum();
    }
}

/// Adds to `to` the rows of `from` that start at `taps`, times their weights.
///
/// # Panics
///
/// If a row of `from` is shorter than `to`.
pub fn sum_rows(from: &[f32], taps: &[(usize, f32)], to: &mut [f32]) {
    let (blocks, rest) = to.as_chunks_mut::<BLOCK>();
    let done = blocks.len() * BLOCK;
    for (block, to) in blocks.iter_mut().enumerate() {
        let mut sums = [0.0; BLOCK];
        for &(row, weight) in taps {
            for (sum, from) in sums.iter_mut().zip(&from[row + block * BLOCK..][..BLOCK]) {
                *sum += weight * from;
            }
        }
        for (to, sum) in to.iter_mut().zip(sums) {
            *to += sum;
        }
    }
    for (place, to) in rest.iter_mut().enumerate() {
        *to += taps.iter().map(|&(row, weight)| weight * from[row + done + place]).sum::<f32>();
    }
}
