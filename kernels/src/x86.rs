//! The instruction sets of x86-64 processors.

use super::isa::{Feature, Set};
use super::{Isa, amx, avx_vnni, avx2, avx512, bf16, int8};

const AVX2: Feature = ("AVX2", || is_x86_feature_detected!("avx2"));
const FMA: Feature = ("FMA", || is_x86_feature_detected!("fma"));
const AVX_VNNI: Feature = ("AVX-VNNI", || is_x86_feature_detected!("avxvnni"));
const AVX512F: Feature = ("AVX-512F", || is_x86_feature_detected!("avx512f"));
const AVX512BW: Feature = ("AVX-512BW", || is_x86_feature_detected!("avx512bw"));
const AVX512VL: Feature = ("AVX-512VL", || is_x86_feature_detected!("avx512vl"));
const AVX512_BF16: Feature = ("AVX512-BF16", || is_x86_feature_detected!("avx512bf16"));
const AVX512_VNNI: Feature = ("AVX-512 VNNI", || is_x86_feature_detected!("avx512vnni"));
const AMX_TILE: Feature = ("AMX-TILE", || amx::detected().tiles);
const AMX_BF16: Feature = ("AMX-BF16", || amx::detected().bf16);
const AMX_INT8: Feature = ("AMX-INT8", || amx::detected().int8);

/// From the set for bf16 on, each needs what those before it need.
const FROM_BF16: &[Feature] = &[AVX512F, AVX512BW, AVX512VL, AVX512_BF16, AVX512_VNNI, AMX_TILE, AMX_BF16, AMX_INT8];

pub(super) const SETS: [Set; 8] = [
    Set { isa: Isa::Avx2, kernels: &avx2::KERNELS, needs: &[AVX2, FMA] },
    Set { isa: Isa::AvxVnni, kernels: &avx_vnni::KERNELS, needs: &[AVX2, FMA, AVX_VNNI] },
    Set { isa: Isa::Avx512, kernels: &avx512::KERNELS, needs: &[AVX512F] },
    Set { isa: Isa::Avx512Vnni, kernels: &int8::KERNELS_OF_F32, needs: &[AVX512F, AVX512BW, AVX512VL, AVX512_VNNI] },
    Set { isa: Isa::Bf16, kernels: &bf16::KERNELS, needs: FROM_BF16.split_at(4).0 },
    Set { isa: Isa::Int8, kernels: &int8::KERNELS, needs: FROM_BF16.split_at(5).0 },
    Set { isa: Isa::AmxBf16, kernels: &amx::KERNELS, needs: FROM_BF16.split_at(7).0 },
    Set { isa: Isa::AmxInt8, kernels: &amx::KERNELS_WITH_BYTES, needs: FROM_BF16 },
];
