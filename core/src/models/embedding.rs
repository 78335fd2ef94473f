//! Sinusoidal embeddings: timesteps, sizes and guidance as inputs of a UNet.

use super::config::{AddedConfig, UnetConfig};

/// Embeds each of `timesteps` for the UNet's input `timestep_embedding`: `timesteps.len()` vectors of
/// `config.time.input_dim` numbers.
pub fn timestep_embedding(timesteps: &[f32], config: &UnetConfig) -> Vec<f32> {
    let time = &config.time;
    sinusoids(timesteps, time.input_dim, time.flip_sin_to_cos, time.freq_shift)
}

/// Embeds `time_ids`, six numbers a row, for the UNet's input `time_ids`: one vector of six sinusoids a row. Empty where
/// the UNet has no added conditions.
pub fn time_ids_embedding(time_ids: &[[f32; AddedConfig::TIME_IDS]], config: &UnetConfig) -> Vec<f32> {
    let Some(added) = &config.added else { return Vec::new() };
    sinusoids(time_ids.as_flattened(), added.time_dim, config.time.flip_sin_to_cos, config.time.freq_shift)
}

/// Embeds guidance scales, as consistency models were trained with, for the UNet's input `guidance_embedding`: `w` is
/// the scale less one. Empty where the UNet knows no guidance.
pub fn guidance_embedding(w: &[f32], config: &UnetConfig) -> Vec<f32> {
    let Some(dim) = config.time.cond_dim else { return Vec::new() };
    let scaled: Vec<f32> = w.iter().map(|w| w * 1000.0).collect();
    sinusoids(&scaled, dim, false, 1.0)
}

/// Sines, then cosines (or the other way round), of `value` times frequencies that fall from 1 to 1 in 10,000. In `f32`
/// step by step, because the networks were trained on numbers rounded so.
fn sinusoids(values: &[f32], dim: usize, cosines_first: bool, freq_shift: f32) -> Vec<f32> {
    const MAX_PERIOD: f64 = 10_000.0;
    let half = dim / 2;
    let slope = -MAX_PERIOD.ln() as f32;
    let frequencies: Vec<f32> = (0..half).map(|i| (slope * i as f32 / (half as f32 - freq_shift)).exp()).collect();
    let mut out = Vec::with_capacity(values.len() * dim);
    for &value in values {
        let sines = frequencies.iter().map(|frequency| (value * frequency).sin());
        let cosines = frequencies.iter().map(|frequency| (value * frequency).cos());
        if cosines_first {
            out.extend(cosines.chain(sines));
        } else {
            out.extend(sines.chain(cosines));
        }
        out.extend(std::iter::repeat_n(0.0, dim - 2 * half));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_cosines_and_sines_of_falling_frequency() {
        let embedded = sinusoids(&[0.0, 500.0], 4, true, 0.0);
        let expected = [1.0, 1.0, 0.0, 0.0, 500f64.cos(), 5f64.cos(), 500f64.sin(), 5f64.sin()];
        for (value, expected) in embedded.iter().zip(expected) {
            assert!((f64::from(*value) - expected).abs() < 1e-4, "{embedded:?}");
        }
    }

    #[test]
    fn an_odd_width_ends_in_a_zero_and_a_shift_reaches_the_longest_period() {
        let embedded = sinusoids(&[1.0], 5, false, 1.0);
        assert_eq!(embedded.len(), 5);
        assert!((f64::from(embedded[1]) - 1e-4f64.sin()).abs() < 1e-8);
        assert_eq!(embedded[4], 0.0);
    }
}
