//! The instruction sets, and their detection on this machine.

use super::Kernels;
#[cfg(target_arch = "aarch64")]
use super::arm::SETS;
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::x86::SETS;

/// A feature of a processor: its name, and whether this one has it.
pub(super) type Feature = (&'static str, fn() -> bool);

/// An instruction set of this architecture.
pub(super) struct Set {
    pub(super) isa: Isa,
    pub(super) kernels: &'static Kernels,
    /// The features that a processor needs beyond those that all of the architecture have.
    pub(super) needs: &'static [Feature],
}

/// Those of other architectures: none besides portable code.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const SETS: [Set; 0] = [];

/// An instruction set, and its number format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Portable code, as vectorized by the compiler.
    Portable,
    /// AVX2 and FMA: vectors of eight `f32`.
    Avx2,
    /// AVX-VNNI in addition: quantized layers multiply bytes, thirty-two products per instruction; values are `f32`.
    AvxVnni,
    /// AVX-512F: vectors of sixteen `f32`.
    Avx512,
    /// AVX-512 VNNI without bf16: quantized layers multiply bytes, sixty-four products per instruction; values are `f32`.
    Avx512Vnni,
    /// AVX512-BF16: values and weights are bf16, thirty-two products per instruction.
    Bf16,
    /// AVX-512 VNNI in addition: quantized layers multiply bytes, sixty-four products per instruction.
    Int8,
    /// AMX in addition: products of tiles of bf16, 8192 per instruction.
    AmxBf16,
    /// AMX for bytes as well: quantized layers multiply tiles of bytes, 16384 products per instruction.
    AmxInt8,
    /// NEON, which every 64-bit Arm processor has: vectors of four `f32`.
    Neon,
    /// FEAT_DotProd in addition: quantized layers multiply bytes, sixteen products per instruction; values are `f32`.
    NeonDot,
    /// FEAT_BF16: values and weights are bf16, sixteen products per instruction.
    NeonBf16,
    /// FEAT_I8MM in addition: quantized layers multiply bytes, thirty-two products per instruction.
    NeonI8mm,
}

impl Isa {
    /// Those of this architecture, slowest first.
    pub const ALL: [Self; 1 + SETS.len()] = {
        let mut all = [Self::Portable; 1 + SETS.len()];
        let mut i = 0;
        while i < SETS.len() {
            all[i + 1] = SETS[i].isa;
            i += 1;
        }
        all
    };

    /// Its name in reports, and in `DREAMFRAME_CPU`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::AmxBf16 => "amx-bf16",
            Self::AmxInt8 => "amx-int8",
            Self::Neon => "neon",
            Self::NeonDot => "neon-dot",
            Self::NeonBf16 => "neon-bf16",
            Self::NeonI8mm => "neon-i8mm",
        }
    }

    /// Returns the one of this architecture with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|isa| isa.name() == name)
    }

    /// Returns whether this machine supports it.
    pub fn available(self) -> bool {
        self.kernels().is_some()
    }

    /// Returns its kernels, if this machine supports it.
    pub fn kernels(self) -> Option<&'static Kernels> {
        if self == Self::Portable {
            return Some(&portable::KERNELS);
        }
        self.set().filter(|_| self.missing().is_empty()).map(|set| set.kernels)
    }

    /// Returns the missing CPU features; none for a set of another architecture, none of whose features are here.
    pub fn missing(self) -> Vec<&'static str> {
        let needs = self.set().map_or(&[][..], |set| set.needs);
        needs.iter().filter(|(_, is_here)| !is_here()).map(|&(name, _)| name).collect()
    }

    fn set(self) -> Option<&'static Set> {
        const { &SETS }.iter().find(|set| set.isa == self)
    }
}
