//! The online softmax by itself, block by block, on every instruction set.

#![allow(unsafe_code, reason = "calls kernels by themselves")]

use dreamframe_kernels::definitions::noise;
use dreamframe_kernels::{Convert, Divide, Isa, Kernels, Softmax};

const KEYS: usize = 80;
const BLOCKS: usize = 4;
const ROWS: usize = 3;

/// Returns, for each row, the mean of `values` by the weights of its scores, accumulated block by block.
fn accumulated(kernels: &Kernels, scores: &[f32], values: &[f32]) -> Vec<f32> {
    let lanes = kernels.lanes;
    let (mut largest, mut sums) = ([f32::NAN; ROWS], vec![f32::NAN; ROWS * lanes]);
    let mut gathered = vec![0.0_f32; ROWS * lanes];
    // Of words, since stored numbers are aligned.
    let mut stored = vec![0_u32; (ROWS * KEYS * kernels.size).div_ceil(4)];
    let mut weights = [0.0_f32; ROWS * KEYS];
    for (block, scores) in scores.chunks_exact(ROWS * KEYS).enumerate() {
        let args = Softmax {
            scores: scores.as_ptr(),
            weights: stored.as_mut_ptr().cast(),
            ld: KEYS,
            rows: ROWS,
            keys: KEYS,
            scale: 1.0,
            first: block == 0,
            largest: largest.as_mut_ptr(),
            sums: sums.as_mut_ptr(),
            gathered: gathered.as_mut_ptr(),
            gathered_len: lanes,
        };
        let convert = Convert { from: stored.as_ptr().cast(), to: weights.as_mut_ptr().cast(), len: weights.len() };
        // SAFETY: the processor has the instructions, or there would be no table; all memory has the sizes above.
        unsafe {
            (kernels.softmax)(&args);
            (kernels.load)(&convert);
        }
        for (row, weights) in weights.chunks_exact(KEYS).enumerate() {
            let values = &values[block * KEYS..][..KEYS];
            gathered[row * lanes] += weights.iter().zip(values).map(|(weight, value)| weight * value).sum::<f32>();
        }
    }
    let mean = |row: usize| {
        let mut out = [0.0_f32; 1];
        let mut stored = [0_u32];
        let parts = sums[row * lanes..].as_ptr();
        let divide = Divide { from: gathered[row * lanes..].as_ptr(), out: stored.as_mut_ptr().cast(), len: 1, parts };
        // SAFETY: as above; `parts` has a vector.
        unsafe {
            (kernels.divide)(&divide);
            (kernels.load)(&Convert { from: stored.as_ptr().cast(), to: out.as_mut_ptr().cast(), len: 1 });
        }
        out[0]
    };
    (0..ROWS).map(mean).collect()
}

/// The same by the definition.
fn expected(scores: &[f32], values: &[f32], row: usize) -> f64 {
    let of_row = |block: usize| scores[(block * ROWS + row) * KEYS..][..KEYS].iter().map(|&score| f64::from(score));
    let scores: Vec<f64> = (0..BLOCKS).flat_map(of_row).collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp2()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().zip(values).map(|(weight, &value)| weight * f64::from(value)).sum::<f64>() / sum
}

#[test]
fn weights_are_right_however_much_scores_grow_from_block_to_block() {
    // Binary logarithms of the growth: none, so much that weights get large, that they would overflow a sum of many,
    // that one overflows at once, and the reverse.
    for growth in [0.0, 20.0, 50.0, 70.0, 126.0, 130.0, 3000.0, -20.0, -3000.0] {
        let mut scores: Vec<f32> = noise(7, BLOCKS * ROWS * KEYS).into_iter().map(|x| x * 4.0).collect();
        for (block, scores) in scores.chunks_exact_mut(ROWS * KEYS).enumerate() {
            scores.iter_mut().for_each(|score| *score += growth * block as f32);
        }
        let values: Vec<f32> = noise(8, BLOCKS * KEYS).into_iter().map(|x| x + 3.0).collect();
        for kernels in Isa::ALL.into_iter().filter_map(Isa::kernels) {
            let found = accumulated(kernels, &scores, &values);
            // Scores of thousands have an error of their own.
            let bound = if kernels.stores_f32() { 1e-3 } else { 2e-2 };
            for (row, found) in found.into_iter().enumerate() {
                let expected = expected(&scores, &values, row);
                let error = (f64::from(found) / expected - 1.0).abs();
                assert!(error < bound, "{:?}, growth {growth}, row {row}: {found}, not {expected}", kernels.isa);
            }
        }
    }
}
