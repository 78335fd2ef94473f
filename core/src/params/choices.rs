//! Parameters that are one of several names.

use super::names::named_enum;

named_enum! {
    /// The interpolation of several prompts or seeds.
    pub enum Interpolation {
        /// A weighted sum.
        Linear = "linear",
        /// Spherical interpolation of two values; more than two are mixed linearly.
        Slerp = "slerp",
    }
}

named_enum! {
    /// The kind of acceleration that a Daydream client prefers: a hint, which changes nothing, since the best executor of
    /// the machine runs in any case.
    pub enum Acceleration {
        /// No preference.
        None = "none",
        /// Memory-efficient attention.
        Xformers = "xformers",
        /// TensorRT engines; the default of the service.
        Tensorrt = "tensorrt",
    }
}

named_enum! {
    /// The kind of guidance. Guidance is active if `guidance_scale` is above 1.
    pub enum CfgType {
        /// No guidance: `guidance_scale`, `delta` and the negative prompt have no effect.
        None = "none",
        /// Away from the stream's own noise, at no additional cost; the negative prompt has no effect.
        SelfNegative = "self",
        /// Away from the negative prompt, which runs at every step: twice the cost.
        Full = "full",
        /// Away from the negative prompt, which runs once a frame; further steps use the stream's own noise.
        Initialize = "initialize",
    }
}

named_enum! {
    /// The rule by which a frame moves from one step to the next: the one that the model, or its LoRA for few steps, was
    /// distilled for. With one step there is no difference.
    pub enum Scheduler {
        /// Latent consistency: new noise at every step. For SD-Turbo, SDXL-Turbo, LCM and most LoRAs.
        Lcm = "lcm",
        /// The predicted noise again, nothing random; equal to Euler's method. For SDXL-Lightning and Hyper-SD.
        Ddim = "ddim",
        /// Trajectory consistency: new noise as far as `eta` says. For TCD and Hyper-SD's LoRAs for one step.
        Tcd = "tcd",
    }
}

named_enum! {
    /// Which of the training timesteps the schedule has: those at which the model, or its LoRA for few steps, was distilled.
    pub enum TimestepSpacing {
        /// Those of latent consistency, the noisiest included; equal to `trailing` if `num_inference_steps` divides 100.
        Lcm = "lcm",
        /// Evenly spaced, the noisiest included. For SDXL-Lightning and Hyper-SD.
        Trailing = "trailing",
        /// Evenly spaced from the second cleanest on.
        Leading = "leading",
        /// Evenly spaced, the noisiest and the cleanest included.
        Linspace = "linspace",
    }
}

impl CfgType {
    /// Returns whether guidance is active at `guidance_scale`: above 1, and not with [`CfgType::None`].
    pub fn active(self, guidance_scale: f32) -> bool {
        self != Self::None && guidance_scale > 1.0
    }

    /// Returns whether the negative prompt has an effect at `guidance_scale`.
    pub fn uses_negative_prompt(self, guidance_scale: f32) -> bool {
        self.active(guidance_scale) && matches!(self, Self::Full | Self::Initialize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guidance_is_active_only_above_one() {
        for cfg in [CfgType::Full, CfgType::SelfNegative, CfgType::Initialize] {
            assert!(cfg.active(1.001) && !cfg.active(1.0) && !cfg.active(0.0) && !cfg.active(f32::NAN), "{cfg}");
        }
        assert!(!CfgType::None.active(7.5));
    }

    #[test]
    fn the_negative_prompt_is_used_by_active_full_and_initialize_guidance() {
        let using = |scale| CfgType::ALL.iter().copied().filter(move |cfg| cfg.uses_negative_prompt(scale));
        assert_eq!(using(1.0).count(), 0);
        assert_eq!(using(1.4).collect::<Vec<_>>(), [CfgType::Full, CfgType::Initialize]);
    }
}
