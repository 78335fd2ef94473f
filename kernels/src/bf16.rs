//! AVX512-BF16: values are the upper halves of `f32`s, multiplied two at a time and summed up in `f32`.

use std::arch::x86_64::*;

use super::avx512::Avx512;
use super::kernels;
use super::simd::Storage;

/// Sixteen bits of an `f32`: sign, exponent, seven bits of the fraction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bf16;

#[inline(always)]
fn first(n: usize) -> __mmask16 {
    ((1_u32 << n) - 1) as __mmask16
}

#[inline(always)]
unsafe fn widen(v: __m256i) -> __m512 {
    // SAFETY: the caller promises that the processor has AVX-512F.
    unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(v))) }
}

#[inline(always)]
unsafe fn narrow(v: __m512) -> __m256i {
    // SAFETY: the caller promises that the processor has AVX512-BF16; the types are both 256 bits.
    unsafe { std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v)) }
}

// SAFETY, for all blocks below: the caller promises that the processor has AVX-512F, BW, VL and BF16, and that the
// pointers reach as far as the trait says. Vectors of halves are transmuted from vectors of integers as wide.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
impl Storage<Avx512> for Bf16 {
    type Stored = u16;
    type Factors = __m512i;
    const GROUP: usize = 2;
    const COARSE: bool = true;

    #[inline(always)]
    unsafe fn get(from: *const u16) -> __m512 {
        unsafe { widen(_mm256_loadu_si256(from.cast())) }
    }
    #[inline(always)]
    unsafe fn get_first(from: *const u16, n: usize) -> __m512 {
        unsafe { widen(_mm256_maskz_loadu_epi16(first(n), from.cast())) }
    }
    #[inline(always)]
    unsafe fn put(to: *mut u16, v: __m512) {
        unsafe { _mm256_storeu_si256(to.cast(), narrow(v)) }
    }
    #[inline(always)]
    unsafe fn put_two(to: *mut u16, first: __m512, second: __m512) {
        unsafe {
            let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first));
            _mm512_storeu_si512(to.cast(), both);
        }
    }
    #[inline(always)]
    unsafe fn put_first(to: *mut u16, n: usize, v: __m512) {
        unsafe { _mm256_mask_storeu_epi16(to.cast(), first(n), narrow(v)) }
    }
    #[inline(always)]
    unsafe fn splat_group(from: *const u16) -> __m512i {
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn splat_part(from: *const u16, _: usize) -> __m512i {
        unsafe { _mm512_set1_epi32(i32::from(*from)) }
    }
    #[inline(always)]
    unsafe fn load_groups(from: *const u16) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn multiply(a: __m512i, b: __m512i, sum: __m512) -> __m512 {
        unsafe {
            _mm512_dpbf16_ps(
                sum,
                std::mem::transmute::<__m512i, __m512bh>(a),
                std::mem::transmute::<__m512i, __m512bh>(b),
            )
        }
    }
}

kernels!(
    Isa::Bf16,
    avx512::Avx512,
    bf16::Bf16,
    [#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]],
    tiles: [(24, 1), (12, 2), (8, 3), (6, 4)],
    attend: [(8, 1), (8, 2)],
    narrow: [(6, 1), (6, 2), (4, 3), (4, 4)],
    peak: 24
);
