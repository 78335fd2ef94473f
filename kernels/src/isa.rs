//! The instruction sets, and their detection on this machine.

use super::Kernels;
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{amx, avx2, avx512, bf16, int8};

/// An instruction set, and its number format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Portable code, as vectorized by the compiler.
    Portable,
    /// AVX2 and FMA: vectors of eight `f32`.
    Avx2,
    /// AVX-512F: vectors of sixteen `f32`.
    Avx512,
    /// AVX512-BF16: values and weights are bf16, thirty-two products per instruction.
    Bf16,
    /// AVX-512 VNNI in addition: quantized layers multiply bytes, sixty-four products per instruction.
    Int8,
    /// AMX in addition: products of tiles of bf16, 8192 per instruction.
    AmxBf16,
    /// AMX for bytes as well: quantized layers multiply tiles of bytes, 16384 products per instruction.
    AmxInt8,
}

impl Isa {
    /// All of them, slowest first.
    pub const ALL: [Self; 7] =
        [Self::Portable, Self::Avx2, Self::Avx512, Self::Bf16, Self::Int8, Self::AmxBf16, Self::AmxInt8];

    /// Its name in reports, and in `DREAMFRAME_CPU`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::AmxBf16 => "amx-bf16",
            Self::AmxInt8 => "amx-int8",
        }
    }

    /// Returns the one with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|isa| isa.name() == name)
    }

    /// Returns whether this machine supports it.
    pub fn available(self) -> bool {
        self.kernels().is_some()
    }

    /// Returns its kernels, if this machine supports it.
    pub fn kernels(self) -> Option<&'static Kernels> {
        match self {
            Self::Portable => Some(&portable::KERNELS),
            _ if !self.missing().is_empty() => None,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Some(&avx2::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Some(&avx512::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Self::Bf16 => Some(&bf16::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Self::Int8 => Some(&int8::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Self::AmxBf16 => Some(&amx::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Self::AmxInt8 => Some(&amx::KERNELS_WITH_BYTES),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 | Self::Bf16 | Self::Int8 | Self::AmxBf16 | Self::AmxInt8 => None,
        }
    }

    /// Returns the missing CPU features.
    pub fn missing(self) -> Vec<&'static str> {
        #[cfg(target_arch = "x86_64")]
        let [tiles, bf16_tiles, byte_tiles] = amx::detected();
        #[cfg(target_arch = "x86_64")]
        let has = [
            ("AVX2", is_x86_feature_detected!("avx2")),
            ("FMA", is_x86_feature_detected!("fma")),
            ("AVX-512F", is_x86_feature_detected!("avx512f")),
            ("AVX-512BW", is_x86_feature_detected!("avx512bw")),
            ("AVX-512VL", is_x86_feature_detected!("avx512vl")),
            ("AVX512-BF16", is_x86_feature_detected!("avx512bf16")),
            ("AVX-512 VNNI", is_x86_feature_detected!("avx512vnni")),
            tiles,
            bf16_tiles,
            byte_tiles,
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let has = [
            "AVX2",
            "FMA",
            "AVX-512F",
            "AVX-512BW",
            "AVX-512VL",
            "AVX512-BF16",
            "AVX-512 VNNI",
            "AMX-TILE",
            "AMX-BF16",
            "AMX-INT8",
        ]
        .map(|name| (name, false));
        let needs = match self {
            Self::Portable => &has[..0],
            Self::Avx2 => &has[..2],
            Self::Avx512 => &has[2..3],
            Self::Bf16 => &has[2..6],
            Self::Int8 => &has[2..7],
            Self::AmxBf16 => &has[2..9],
            Self::AmxInt8 => &has[2..10],
        };
        needs.iter().filter(|(_, there)| !there).map(|&(name, _)| name).collect()
    }
}
