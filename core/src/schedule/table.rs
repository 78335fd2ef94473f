//! The step table: the coefficients of each row of the stream batch.
//!
//! `t_index_list` selects timesteps from the scheduler's grid.
//! Each selected step becomes one row of the stream batch. The coefficients with which a row is denoised, and moves to the
//! next step by the [`UpdateRule`], depend only on the parameters. So they are computed once per parameter change, in
//! `f64`, and the frame loop only reads them.
//!
//! This module is independent of tensors, devices and frames.

use crate::{Error, ErrorKind, Violation};

/// One [`Step`] per entry of `t_index_list`, noisiest first.
#[derive(Debug, Clone, PartialEq)]
pub struct StepTable {
    // Invariant: never empty; timesteps never increase; both square roots are strictly between 0 and 1.
    steps: Vec<Step>,
}

/// How a row moves from one step to the next: what takes the place of the noise that it was denoised from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum UpdateRule {
    /// New noise, as consistency distillation does, with LCM's boundary scalings.
    Lcm,
    /// The predicted noise; nothing is random after the start. Equal to Euler's method without churn.
    Ddim,
    /// The predicted noise down to a lower noise level, then new noise (trajectory consistency distillation).
    Tcd {
        /// The share of the timestep that new noise covers: 0 is [`Ddim`](Self::Ddim), 1 new noise from the first
        /// training timestep on. In 0..=1.
        eta: f64,
    },
}

/// The constants of one denoising step, for one row of the stream batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The training timestep of the UNet, `0..1000`; larger is noisier.
    pub timestep: u32,
    /// The weight of the clean sample in `x_t`: the square root of alpha-bar at `timestep`.
    pub sqrt_alpha: f64,
    /// The weight of the noise in `x_t`: the square root of one minus alpha-bar.
    pub sqrt_beta: f64,
    /// The weight of `x_t` in the boundary condition.
    pub c_skip: f64,
    /// The weight of the predicted clean sample in the boundary condition.
    pub c_out: f64,
    /// The weight of new noise in a row that comes from the step before.
    pub new_noise: f64,
    /// The weight, in a row that comes from the step before, of the noise predicted there. The sum of the squares of both
    /// weights is that of `sqrt_beta`.
    pub predicted_noise: f64,
    /// The weights of the clean latent and of noise in a row that comes from a frame: `sqrt_alpha` and `sqrt_beta`, unless
    /// the step is [direct](StepTable::direct).
    pub entering: [f64; 2],
}

impl StepTable {
    /// Selects the steps at `t_indices` from `grid`.
    ///
    /// `grid` has the scheduler's timesteps from noisiest to cleanest; `alphas_cumprod` has one entry per training
    /// timestep, each in (0, 1).
    ///
    /// # Errors
    ///
    /// [`TableError::Empty`] without indices, [`TableError::OutOfGrid`] for an index past the end of `grid`,
    /// [`TableError::NotAscending`] if an index is less than the previous one, [`TableError::NoAlpha`] for a timestep
    /// at which `alphas_cumprod` has no number in (0, 1).
    pub fn new(
        grid: &[u32],
        alphas_cumprod: &[f64],
        t_indices: &[usize],
        rule: UpdateRule,
    ) -> Result<Self, TableError> {
        if t_indices.is_empty() {
            return Err(TableError::Empty);
        }
        let pick = |(position, &index): (usize, &usize)| {
            let &timestep = grid.get(index).ok_or(TableError::OutOfGrid { position, index, len: grid.len() })?;
            let alpha = |timestep: u32| {
                let alpha = alphas_cumprod.get(timestep as usize).copied();
                alpha.filter(|alpha| 0.0 < *alpha && *alpha < 1.0).ok_or(TableError::NoAlpha { timestep })
            };
            Ok(match rule {
                UpdateRule::Lcm => Step::lcm(timestep, alpha(timestep)?),
                UpdateRule::Ddim => Step::through(timestep, alpha(timestep)?, alpha(timestep)?),
                UpdateRule::Tcd { eta } => {
                    let lower = ((1.0 - eta) * f64::from(timestep)).floor() as u32;
                    Step::through(timestep, alpha(timestep)?, alpha(lower.min(timestep))?)
                }
            })
        };
        let steps = t_indices.iter().enumerate().map(pick).collect::<Result<_, _>>()?;
        if let Some(fall) = t_indices.windows(2).position(|pair| pair[1] < pair[0]) {
            return Err(TableError::NotAscending { position: fall + 1 });
        }
        Ok(Self { steps })
    }

    /// Makes one step at the last training timestep of `alphas_cumprod`, whose input is not noised to the level of that
    /// timestep: the clean latent times `strength`, in 0..=1, plus noise times `1 - strength`.
    ///
    /// # Errors
    ///
    /// [`TableError::NoAlpha`] if `alphas_cumprod` has no number in (0, 1) there.
    pub fn direct(alphas_cumprod: &[f64], strength: f64) -> Result<Self, TableError> {
        let timestep = alphas_cumprod.len().saturating_sub(1) as u32;
        let alpha = alphas_cumprod.last().copied().filter(|alpha| 0.0 < *alpha && *alpha < 1.0);
        let alpha = alpha.ok_or(TableError::NoAlpha { timestep })?;
        let step = Step { entering: [strength, 1.0 - strength], ..Step::through(timestep, alpha, alpha) };
        Ok(Self { steps: vec![step] })
    }

    /// Returns the steps, noisiest first; never empty.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns the delay of a picture after its input, in frames.
    pub fn delay(&self) -> usize {
        self.steps.len() - 1
    }
}

impl Step {
    /// Computes LCM's boundary scalings, with the published `sigma_data = 0.5` and `timestep_scaling = 10`.
    fn lcm(timestep: u32, alpha: f64) -> Self {
        const SIGMA_DATA: f64 = 0.5;
        const TIMESTEP_SCALING: f64 = 10.0;

        let scaled = f64::from(timestep) * TIMESTEP_SCALING;
        let norm = scaled * scaled + SIGMA_DATA * SIGMA_DATA;
        Self {
            timestep,
            sqrt_alpha: alpha.sqrt(),
            sqrt_beta: (1.0 - alpha).sqrt(),
            c_skip: SIGMA_DATA * SIGMA_DATA / norm,
            c_out: scaled / norm.sqrt(),
            new_noise: (1.0 - alpha).sqrt(),
            predicted_noise: 0.0,
            entering: [alpha.sqrt(), (1.0 - alpha).sqrt()],
        }
    }

    /// Computes a step that is entered with the predicted noise at the level of `lower_alpha`, and new noise from there to
    /// `alpha`, which is not above it.
    fn through(timestep: u32, alpha: f64, lower_alpha: f64) -> Self {
        let kept = alpha / lower_alpha;
        Self {
            timestep,
            sqrt_alpha: alpha.sqrt(),
            sqrt_beta: (1.0 - alpha).sqrt(),
            c_skip: 0.0,
            c_out: 1.0,
            new_noise: (1.0 - kept).max(0.0).sqrt(),
            predicted_noise: (kept * (1.0 - lower_alpha)).sqrt(),
            entering: [alpha.sqrt(), (1.0 - alpha).sqrt()],
        }
    }
}

/// The error of an invalid `t_index_list` or schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// There is no index.
    #[error("t_index_list: got no index, expected at least one")]
    Empty,
    /// An index is past the end of the grid.
    #[error("t_index_list[{position}]: got {index}, expected less than num_inference_steps ({len})")]
    OutOfGrid {
        /// The position in the list.
        position: usize,
        /// The index.
        index: usize,
        /// The number of timesteps of the grid.
        len: usize,
    },
    /// An index is less than the previous one.
    #[error("t_index_list[{position}]: got less than the index before it, expected at least as much")]
    NotAscending {
        /// The position in the list.
        position: usize,
    },
    /// The schedule has no usable alpha-bar at a timestep of the grid.
    #[error("noise schedule: got no alpha between 0 and 1 at timestep {timestep}")]
    NoAlpha {
        /// The timestep.
        timestep: u32,
    },
}

impl From<TableError> for Error {
    fn from(error: TableError) -> Self {
        let (path, message) = match error {
            TableError::Empty => ("t_index_list".into(), "got no index, expected at least one".into()),
            TableError::OutOfGrid { position, index, len } => (
                format!("t_index_list[{position}]"),
                format!("got {index}, expected less than num_inference_steps ({len})"),
            ),
            TableError::NotAscending { position } => (
                format!("t_index_list[{position}]"),
                "got less than the index before it, expected at least as much".into(),
            ),
            TableError::NoAlpha { .. } => {
                return Self::new(ErrorKind::BadModel, error.to_string()).with_source(error);
            }
        };
        Self::invalid_params(vec![Violation { path, message }]).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;
    use crate::schedule::{Betas, Spacing, grid};

    fn table(t_indices: &[usize]) -> StepTable {
        let alphas = Betas::default().alphas_cumprod().unwrap();
        StepTable::new(&grid(Spacing::Lcm, 50, 1000).unwrap(), &alphas, t_indices, UpdateRule::Lcm).unwrap()
    }

    #[test]
    fn noise_of_a_row_keeps_its_level_under_every_rule() {
        let alphas = Betas::default().alphas_cumprod().unwrap();
        let steps =
            |rule| StepTable::new(&grid(Spacing::Lcm, 4, 1000).unwrap(), &alphas, &[1, 2, 3], rule).unwrap().steps;
        let rules = [0.0, 0.3, 0.99, 1.0].map(|eta| UpdateRule::Tcd { eta });
        for rule in [UpdateRule::Lcm, UpdateRule::Ddim].into_iter().chain(rules) {
            for step in steps(rule) {
                let squares = step.new_noise.powi(2) + step.predicted_noise.powi(2);
                assert!((squares - step.sqrt_beta.powi(2)).abs() < 1e-12, "{rule:?}: {step:?}");
            }
        }
        assert_eq!(steps(UpdateRule::Tcd { eta: 0.0 }), steps(UpdateRule::Ddim));
        assert!(steps(UpdateRule::Ddim).iter().all(|step| step.new_noise == 0.0 && step.c_skip == 0.0));
        assert!(steps(UpdateRule::Lcm).iter().all(|step| step.predicted_noise == 0.0));
        // Even with all the noise new, the first training timestep has some of its own.
        let [most, ..] = *steps(UpdateRule::Tcd { eta: 1.0 }) else { panic!("three steps") };
        assert!(0.0 < most.predicted_noise && most.predicted_noise < 0.03, "{most:?}");
    }

    #[test]
    fn steps_have_the_timesteps_at_the_indices() {
        let timesteps = |list: &[usize]| table(list).steps().iter().map(|step| step.timestep).collect::<Vec<_>>();
        assert_eq!(timesteps(&[0]), [999]);
        assert_eq!(timesteps(&[12, 20, 32]), [759, 599, 359]);
        assert_eq!(timesteps(&[5, 15, 32]), [899, 699, 359]);
        assert_eq!(timesteps(&[36]), [279]);
        assert_eq!(timesteps(&[32, 45]), [359, 99]);
        assert_eq!(timesteps(&[35, 45]), [299, 99]);
        assert_eq!(timesteps(&[0, 16, 32, 45]), [999, 679, 359, 99]);
        assert_eq!(table(&[12, 20, 32]).delay(), 2);
    }

    #[test]
    fn coefficients_match_the_specification() {
        let all: Vec<usize> = (0..50).collect();
        let table = table(&all);
        for (step, &(timestep, a, b, a16, b16)) in table.steps().iter().zip(COEFFICIENTS) {
            assert_eq!(step.timestep, timestep);
            assert!((step.sqrt_alpha - a).abs() < 1e-6, "a at {timestep} is {}", step.sqrt_alpha);
            assert!((step.sqrt_beta - b).abs() < 1e-6, "b at {timestep} is {}", step.sqrt_beta);
            assert_eq!(f16::from_f64(step.sqrt_alpha).to_bits(), a16, "a at {timestep}");
            assert_eq!(f16::from_f64(step.sqrt_beta).to_bits(), b16, "b at {timestep}");
        }
    }

    #[test]
    fn the_boundary_scalings_nearly_vanish_at_every_timestep() {
        let table = table(&[45, 49]);
        let [at_99, at_19] = table.steps() else { panic!("two steps") };
        assert!((at_99.c_skip - 2.55e-7).abs() < 1e-9 && (at_19.c_skip - 6.9e-6).abs() < 5e-8);
        assert_eq!(f16::from_f64(at_99.c_out).to_f32(), 1.0);
        assert!((at_19.c_out.powi(2) + at_19.c_skip - 1.0).abs() < 1e-12, "both weights share one norm");
    }

    #[test]
    fn a_direct_step_is_at_the_last_timestep_and_does_not_noise_its_input() {
        let alphas = Betas::default().alphas_cumprod().unwrap();
        let of_strength = |strength| StepTable::direct(&alphas, strength).unwrap().steps;
        let [whole] = *of_strength(1.0) else { panic!("one step") };
        assert_eq!((whole.timestep, whole.entering, whole.c_skip, whole.c_out), (999, [1.0, 0.0], 0.0, 1.0));
        assert!((whole.sqrt_alpha - 0.068265).abs() < 1e-6 && (whole.sqrt_beta - 0.997667).abs() < 1e-6);
        assert_eq!(of_strength(0.25), [Step { entering: [0.25, 0.75], ..whole }]);
        assert_eq!(StepTable::direct(&[0.5, 1.0], 1.0), Err(TableError::NoAlpha { timestep: 1 }));
        assert_eq!(StepTable::direct(&[], 1.0), Err(TableError::NoAlpha { timestep: 0 }));
    }

    #[test]
    fn invalid_indices_and_schedules_are_rejected() {
        let new =
            |alphas: &[f64], list: &[usize]| StepTable::new(&[999, 499], alphas, list, UpdateRule::Lcm).unwrap_err();
        let good = vec![0.5; 1000];
        assert_eq!(new(&good, &[]), TableError::Empty);
        assert_eq!(new(&good, &[0, 2]), TableError::OutOfGrid { position: 1, index: 2, len: 2 });
        assert_eq!(new(&good, &[1, 0]), TableError::NotAscending { position: 1 });
        assert_eq!(new(&good[..999], &[0]), TableError::NoAlpha { timestep: 999 });
        for alpha in [0.0, 1.0, f64::NAN] {
            assert_eq!(new(&vec![alpha; 1000], &[1]), TableError::NoAlpha { timestep: 499 });
        }
        let error = Error::from(TableError::OutOfGrid { position: 2, index: 50, len: 50 });
        assert_eq!(error.to_string(), "t_index_list[2]: got 50, expected less than num_inference_steps (50)");
        assert_eq!(error.violations().len(), 1);
        assert_eq!(Error::from(TableError::NoAlpha { timestep: 3 }).kind(), ErrorKind::BadModel);
    }

    #[test]
    fn an_index_may_occur_twice() {
        assert_eq!(table(&[3, 3]).steps().len(), 2);
    }

    /// The timestep, the square roots of alpha-bar and of one minus it, and the bits of both in `f16`.
    const COEFFICIENTS: &[(u32, f64, f64, u16, u16)] = &[
        (999, 0.068265, 0.997667, 0x2c5e, 0x3bfb),
        (979, 0.076895, 0.997039, 0x2cec, 0x3bfa),
        (959, 0.086311, 0.996268, 0x2d86, 0x3bf8),
        (939, 0.096546, 0.995329, 0x2e2e, 0x3bf6),
        (919, 0.107626, 0.994191, 0x2ee3, 0x3bf4),
        (899, 0.119577, 0.992825, 0x2fa7, 0x3bf1),
        (879, 0.132417, 0.991194, 0x303d, 0x3bee),
        (859, 0.146159, 0.989261, 0x30ad, 0x3bea),
        (839, 0.160813, 0.986985, 0x3125, 0x3be5),
        (819, 0.176381, 0.984322, 0x31a5, 0x3be0),
        (799, 0.192860, 0.981226, 0x322c, 0x3bda),
        (779, 0.210239, 0.977650, 0x32ba, 0x3bd2),
        (759, 0.228501, 0.973544, 0x3350, 0x3bca),
        (739, 0.247624, 0.968856, 0x33ed, 0x3bc0),
        (719, 0.267576, 0.963537, 0x3448, 0x3bb5),
        (699, 0.288320, 0.957534, 0x349d, 0x3ba9),
        (679, 0.309813, 0.950798, 0x34f5, 0x3b9b),
        (659, 0.332004, 0.943278, 0x3550, 0x3b8c),
        (639, 0.354839, 0.934928, 0x35ad, 0x3b7b),
        (619, 0.378254, 0.925702, 0x360d, 0x3b68),
        (599, 0.402185, 0.915559, 0x366f, 0x3b53),
        (579, 0.426558, 0.904460, 0x36d3, 0x3b3c),
        (559, 0.451301, 0.892372, 0x3739, 0x3b24),
        (539, 0.476333, 0.879265, 0x379f, 0x3b09),
        (519, 0.501575, 0.865114, 0x3803, 0x3aec),
        (499, 0.526944, 0.849900, 0x3837, 0x3acd),
        (479, 0.552355, 0.833609, 0x386b, 0x3aab),
        (459, 0.577724, 0.816232, 0x389f, 0x3a88),
        (439, 0.602969, 0.797765, 0x38d3, 0x3a62),
        (419, 0.628005, 0.778209, 0x3906, 0x3a3a),
        (399, 0.652753, 0.757571, 0x3939, 0x3a10),
        (379, 0.677133, 0.735861, 0x396b, 0x39e3),
        (359, 0.701071, 0.713092, 0x399c, 0x39b4),
        (339, 0.724494, 0.689281, 0x39cc, 0x3984),
        (319, 0.747336, 0.664446, 0x39fb, 0x3951),
        (299, 0.769534, 0.638606, 0x3a28, 0x391c),
        (279, 0.791030, 0.611777, 0x3a54, 0x38e5),
        (259, 0.811773, 0.583973, 0x3a7f, 0x38ac),
        (239, 0.831715, 0.555202, 0x3aa7, 0x3871),
        (219, 0.850817, 0.525462, 0x3ace, 0x3834),
        (199, 0.869044, 0.494734, 0x3af4, 0x37ea),
        (179, 0.886369, 0.462980, 0x3b17, 0x3768),
        (159, 0.902768, 0.430128, 0x3b39, 0x36e2),
        (139, 0.918226, 0.396056, 0x3b59, 0x3656),
        (119, 0.932735, 0.360563, 0x3b76, 0x35c5),
        (99, 0.946289, 0.323323, 0x3b92, 0x352c),
        (79, 0.958890, 0.283776, 0x3bac, 0x348a),
        (59, 0.970547, 0.240910, 0x3bc4, 0x33b6),
        (39, 0.981272, 0.192627, 0x3bda, 0x322a),
        (19, 0.991082, 0.133252, 0x3bee, 0x3044),
    ];
}
