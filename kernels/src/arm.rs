//! The instruction sets of 64-bit Arm processors.

use std::arch::is_aarch64_feature_detected;

use super::isa::{Feature, Set};
use super::{Isa, neon, neon_blocks, neon_bytes};

const DOTPROD: Feature = ("FEAT_DotProd", || is_aarch64_feature_detected!("dotprod"));
const BF16: Feature = ("FEAT_BF16", || is_aarch64_feature_detected!("bf16"));
const I8MM: Feature = ("FEAT_I8MM", || is_aarch64_feature_detected!("i8mm"));

pub(super) const SETS: [Set; 4] = [
    Set { isa: Isa::Neon, kernels: &neon::KERNELS, needs: &[] },
    Set { isa: Isa::NeonDot, kernels: &neon_bytes::KERNELS, needs: &[DOTPROD] },
    Set { isa: Isa::NeonBf16, kernels: &neon_blocks::KERNELS, needs: &[BF16] },
    Set { isa: Isa::NeonI8mm, kernels: &neon_blocks::KERNELS_WITH_BYTES, needs: &[BF16, I8MM] },
];
