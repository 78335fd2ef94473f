//! The noise of every row, from seeds.

use super::blend::{norm, shares, slerp, weighted_sum};
use crate::Result;
use crate::net::Shape;
use crate::params::Interpolation;
use crate::stream::noise::Generator;

/// Draws noise of `shape`, channels last, from one seed, or from several mixed by their weights.
///
/// With [`Interpolation::Slerp`], two seeds are mixed by spherical interpolation of their noises. Otherwise the noises
/// are added by their weights. With `normalise` and more than one seed, the sum is then scaled to the mean length of
/// the parts, since a sum of independent noises is shorter than each of them.
///
/// Angles and lengths are computed for each row, while the reference takes all rows as one vector. So a row depends
/// only on the seeds and on its index, and does not change with the number of rows.
///
/// # Errors
///
/// `InvalidArgument` without seeds, for a weight that is negative or not finite, for weights that sum to 0 with
/// `normalise`, and for a shape without elements.
pub fn seed_noise(
    seeds: &[(u64, f32)],
    method: Interpolation,
    normalise: bool,
    shape: Shape,
    generator: Generator,
) -> Result<Vec<f32>> {
    let weights: Vec<f32> = seeds.iter().map(|&(_, weight)| weight).collect();
    let weights = shares(seeds.len(), &weights, normalise)?;
    let parts = seeds.iter().map(|&(seed, _)| generator.rows(seed, shape)).collect::<Result<Vec<_>>>()?;
    let row_len = shape.len() / shape.n;
    let mut noise = Vec::with_capacity(shape.len());
    for start in (0..shape.len()).step_by(row_len) {
        let rows: Vec<&[f32]> = parts.iter().map(|part| &part[start..start + row_len]).collect();
        noise.extend(mix(&rows, &weights, method, normalise));
    }
    Ok(noise)
}

/// Mixes one row of each seed.
fn mix(rows: &[&[f32]], weights: &[f64], method: Interpolation, normalise: bool) -> Vec<f32> {
    const NOTHING: f64 = 1e-8;

    if let (Interpolation::Slerp, [a, b], [_, t]) = (method, rows, weights) {
        return slerp(a, b, *t);
    }
    let mut sum = weighted_sum(rows, weights);
    let length = norm(&sum);
    if normalise && rows.len() > 1 && length > NOTHING {
        let mean = rows.iter().map(|row| norm(row)).sum::<f64>() / rows.len() as f64;
        sum.iter_mut().for_each(|number| *number = (f64::from(*number) * (mean / length)) as f32);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    const SHAPE: Shape = Shape::new(3, 8, 8, 4);

    fn noise(seeds: &[(u64, f32)], method: Interpolation, normalise: bool, rows: usize) -> Vec<f32> {
        seed_noise(seeds, method, normalise, Shape { n: rows, ..SHAPE }, Generator::Philox).unwrap()
    }

    #[test]
    fn the_corrected_length_matches_the_specification() {
        let mixed = mix(&[&[1.0, 0.0, 2.0], &[0.0, 3.0, 1.0]], &[0.75, 0.25], Interpolation::Linear, true);
        for (mixed, expected) in mixed.iter().zip([0.989269, 0.989269, 2.308295]) {
            assert!((mixed - expected).abs() < 1e-6, "{mixed}");
        }
    }

    #[test]
    fn a_single_seed_is_not_mixed() {
        let plain = Generator::Philox.rows(789, SHAPE).unwrap();
        for method in [Interpolation::Linear, Interpolation::Slerp] {
            assert_eq!(noise(&[(789, 1.0)], method, true, 3), plain);
            assert_eq!(noise(&[(789, 0.3)], method, true, 3), plain);
        }
        let half: Vec<f32> = plain.iter().map(|x| x * 0.5).collect();
        assert_eq!(noise(&[(789, 0.5)], Interpolation::Linear, false, 3), half);
    }

    #[test]
    fn a_row_does_not_depend_on_the_number_of_rows() {
        let seeds = [(1, 0.7), (2, 0.3), (3, 0.1)];
        for method in [Interpolation::Linear, Interpolation::Slerp] {
            for seeds in [&seeds[..1], &seeds[..2], &seeds] {
                let long = noise(seeds, method, true, 5);
                let short = noise(seeds, method, true, 2);
                assert_eq!(short, long[..short.len()]);
            }
        }
    }

    #[test]
    fn mixed_noise_has_the_length_of_its_parts() {
        let part = norm(&noise(&[(1, 1.0)], Interpolation::Linear, true, 1));
        for method in [Interpolation::Linear, Interpolation::Slerp] {
            let mixed = norm(&noise(&[(1, 0.5), (2, 0.5)], method, true, 1));
            assert!((mixed / part - 1.0).abs() < 0.1, "{method:?}: {mixed} against {part}");
        }
        let weak = norm(&noise(&[(1, 0.5), (2, 0.5)], Interpolation::Linear, false, 1));
        assert!(weak < 0.8 * part, "{weak} against {part}");
    }

    #[test]
    fn invalid_seeds_and_shapes_are_rejected() {
        let refused = |seeds: &[(u64, f32)], shape| {
            seed_noise(seeds, Interpolation::Linear, true, shape, Generator::TorchCpu).unwrap_err().kind()
        };
        assert_eq!(refused(&[], SHAPE), ErrorKind::InvalidArgument);
        assert_eq!(refused(&[(1, 0.0)], SHAPE), ErrorKind::InvalidArgument);
        assert_eq!(refused(&[(1, -1.0)], SHAPE), ErrorKind::InvalidArgument);
        assert_eq!(refused(&[(1, 1.0)], Shape { n: 0, ..SHAPE }), ErrorKind::InvalidArgument);
        assert_eq!(refused(&[(1, 1.0)], Shape { h: usize::MAX, ..SHAPE }), ErrorKind::InvalidArgument);
    }
}
