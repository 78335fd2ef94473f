//! Interpolation of embeddings: linear, slerp, weight normalization.

use crate::params::Interpolation;
use crate::{Error, ErrorKind, Result};

/// Mixes `items`, all of one length, by `weights`, one for each.
///
/// With [`Interpolation::Slerp`], two items are mixed by spherical interpolation, at the second weight; any other
/// number of items by the weighted sum. With `normalise` the weights are divided by their sum first.
///
/// # Errors
///
/// `InvalidArgument` without items, if lengths or counts differ, for a weight that is negative or not finite, and for
/// weights that sum to 0 with `normalise`.
pub fn blend(items: &[&[f32]], weights: &[f32], method: Interpolation, normalise: bool) -> Result<Vec<f32>> {
    let weights = shares(items.len(), weights, normalise)?;
    let len = items.first().map_or(0, |item| item.len());
    if let Some((place, item)) = items.iter().enumerate().find(|(_, item)| item.len() != len) {
        return Err(invalid(format!("entry {place}: got {} elements, expected {len} as in entry 0", item.len())));
    }
    Ok(match (method, items, &weights[..]) {
        (Interpolation::Slerp, [a, b], [_, t]) => slerp(a, b, *t),
        _ => weighted_sum(items, &weights),
    })
}

/// Returns a notice if `count` items are mixed by another method than `method`.
pub fn notice(method: Interpolation, count: usize) -> Option<String> {
    (method == Interpolation::Slerp && count > 2)
        .then(|| format!("slerp mixes two entries; these {count} are mixed linearly"))
}

/// Checks `weights` and converts them to `f64`, divided by their sum with `normalise`.
pub(super) fn shares(count: usize, weights: &[f32], normalise: bool) -> Result<Vec<f64>> {
    if count == 0 {
        return Err(invalid("entries: got none, expected at least one".into()));
    }
    if weights.len() != count {
        return Err(invalid(format!("weight count: got {}, expected {count}, one for each entry", weights.len())));
    }
    let bad = |weight: &f32| !(weight.is_finite() && *weight >= 0.0);
    if let Some(place) = weights.iter().position(bad) {
        return Err(invalid(format!("weight {place}: got {}, expected a finite number of at least 0", weights[place])));
    }
    let sum = if normalise { weights.iter().map(|&weight| f64::from(weight)).sum() } else { 1.0 };
    if sum == 0.0 {
        return Err(invalid("sum of the weights: got 0, expected more than 0 to normalise them".into()));
    }
    Ok(weights.iter().map(|&weight| f64::from(weight) / sum).collect())
}

/// Returns the sum of `items`, each times its weight, in their order.
pub(super) fn weighted_sum(items: &[&[f32]], weights: &[f64]) -> Vec<f32> {
    let mut sum = vec![0.0_f64; items.first().map_or(0, |item| item.len())];
    for (item, weight) in items.iter().zip(weights) {
        for (sum, number) in sum.iter_mut().zip(*item) {
            *sum += weight * f64::from(*number);
        }
    }
    sum.into_iter().map(|number| number as f32).collect()
}

/// Interpolates from `a` to `b` by the fraction `t` of the angle between them; lengths are not corrected.
///
/// If the angle is close to 0, close to 180 degrees or undefined, the interpolation is linear.
pub(super) fn slerp(a: &[f32], b: &[f32], t: f64) -> Vec<f32> {
    const NO_ANGLE: f64 = 1e-6;
    const NO_DIRECTION: f64 = 1e-3;

    if t <= 0.0 {
        return a.to_vec();
    }
    if t >= 1.0 {
        return b.to_vec();
    }
    let angle = (dot(a, b) / (norm(a) * norm(b))).clamp(-1.0, 1.0).acos();
    // A NaN is in no range.
    let weights = if (NO_ANGLE..=std::f64::consts::PI - NO_DIRECTION).contains(&angle) {
        [((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin()]
    } else {
        [1.0 - t, t]
    };
    weighted_sum(&[a, b], &weights)
}

/// Returns the Euclidean length of `a`.
pub(super) fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: [f32; 3] = [1.0, 0.0, 2.0];
    const B: [f32; 3] = [0.0, 3.0, 1.0];

    fn assert_near(got: &[f32], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        for (&got, expected) in got.iter().zip(expected) {
            assert!((f64::from(got) - expected).abs() < 1e-6, "{got} is not {expected}");
        }
    }

    #[test]
    fn slerp_matches_the_specification() {
        let expected = [0.855874, 0.986873, 2.040706];
        assert_near(&slerp(&A, &B, 0.25), &expected);
        assert_near(&blend(&[&A, &B], &[3.0, 1.0], Interpolation::Slerp, true).unwrap(), &expected);
        assert_near(&blend(&[&A, &B], &[0.0, 0.25], Interpolation::Slerp, false).unwrap(), &expected);
    }

    #[test]
    fn slerp_ends_at_the_items() {
        assert_eq!(slerp(&A, &B, 0.0), A);
        assert_eq!(slerp(&A, &B, 1.0), B);
        assert_eq!(blend(&[&A, &B], &[1.0, 7.0], Interpolation::Slerp, false).unwrap(), B);
    }

    #[test]
    fn slerp_is_linear_without_a_defined_arc() {
        let opposite = A.map(|x| -x);
        assert_near(&slerp(&A, &opposite, 0.25), &[0.5, 0.0, 1.0]);
        assert_near(&slerp(&A, &A, 0.25), &[1.0, 0.0, 2.0]);
        assert_near(&slerp(&A, &[0.0; 3], 0.25), &[0.75, 0.0, 1.5]);
    }

    #[test]
    fn normalised_weights_are_divided_by_their_sum() {
        let linear = |weights: &[f32], normalise| blend(&[&A, &B], weights, Interpolation::Linear, normalise).unwrap();
        assert_near(&linear(&[3.0, 1.0], true), &[0.75, 0.75, 1.75]);
        assert_near(&linear(&[3.0, 1.0], false), &[3.0, 3.0, 7.0]);
        let one = |normalise| blend(&[&A], &[0.5], Interpolation::Slerp, normalise).unwrap();
        assert_near(&one(false), &[0.5, 0.0, 1.0]);
        assert_near(&one(true), &[1.0, 0.0, 2.0]);
    }

    #[test]
    fn three_items_are_mixed_linearly_with_a_notice() {
        let mix = |method| blend(&[&A, &B, &A], &[1.0, 2.0, 1.0], method, true).unwrap();
        assert_eq!(mix(Interpolation::Slerp), mix(Interpolation::Linear));
        assert!(notice(Interpolation::Slerp, 3).unwrap().contains("these 3"));
        assert_eq!(notice(Interpolation::Slerp, 2), None);
        assert_eq!(notice(Interpolation::Linear, 3), None);
    }

    #[test]
    fn invalid_items_and_weights_are_rejected() {
        let refused = |items: &[&[f32]], weights: &[f32], normalise| {
            let error = blend(items, weights, Interpolation::Slerp, normalise).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            error.to_string()
        };
        assert!(refused(&[], &[], true).contains("entries: got none"));
        assert!(refused(&[&A], &[1.0, 1.0], true).contains("weight count: got 2, expected 1"));
        assert!(refused(&[&A, &B[..2]], &[1.0, 1.0], true).contains("entry 1: got 2 elements"));
        assert!(refused(&[&A, &B], &[0.0, 0.0], true).contains("sum of the weights: got 0"));
        for weight in [-0.5, f32::NAN, f32::INFINITY] {
            assert!(refused(&[&A, &B], &[1.0, weight], false).contains("weight 1: got"));
        }
        assert!(blend(&[&A, &B], &[0.0, 0.0], Interpolation::Linear, false).is_ok());
    }

    proptest! {
        #[test]
        fn blending_a_value_with_itself_returns_it(item in prop::collection::vec(-4.0_f32..4.0, 1..20), w in 0.1_f32..9.0) {
            for method in [Interpolation::Linear, Interpolation::Slerp] {
                let mixed = blend(&[&item, &item], &[w, 1.0], method, true).unwrap();
                for (mixed, item) in mixed.iter().zip(&item) {
                    prop_assert!((mixed - item).abs() < 1e-5);
                }
            }
        }

        #[test]
        fn slerp_between_equal_lengths_preserves_the_length(angle in 0.01_f64..3.1, t in 0.0_f64..1.0) {
            let on_circle = |angle: f64| [angle.cos() as f32, angle.sin() as f32];
            let mixed = slerp(&on_circle(0.3), &on_circle(0.3 + angle), t);
            let expected = on_circle(0.3 + t * angle);
            prop_assert!((mixed[0] - expected[0]).abs() < 1e-4 && (mixed[1] - expected[1]).abs() < 1e-4);
        }

        #[test]
        fn a_common_factor_of_normalised_weights_has_no_effect(w in prop::collection::vec(0.1_f32..5.0, 2), k in 0.5_f32..4.0) {
            let scaled: Vec<f32> = w.iter().map(|w| w * k).collect();
            let mix = |w: &[f32]| blend(&[&A, &B], w, Interpolation::Slerp, true).unwrap();
            for (a, b) in mix(&w).iter().zip(mix(&scaled)) {
                prop_assert!((a - b).abs() < 1e-5);
            }
        }
    }
}
