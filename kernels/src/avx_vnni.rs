//! AVX-VNNI: bytes are multiplied in groups of four and summed as integers in vectors of eight; other operations are those
//! of AVX2 in `f32`.

use std::arch::x86_64::*;

use super::avx2::Avx2;
use super::simd::{Simd, Storage};
use super::{Isa, Kernels, avx2, byte_kernels};

/// Operands of products: unsigned bytes in rows, signed bytes in weights.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes;

// SAFETY, for all blocks below: the caller promises that the processor has AVX2, FMA and AVX-VNNI, and that the pointers
// reach as far as the trait says. Vectors of sums are cast from vectors of integers as wide.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
impl Storage<Avx2> for Bytes {
    type Stored = u8;
    type Factors = __m256i;
    const GROUP: usize = 4;
    const COARSE: bool = true;
    const WHOLE: bool = true;

    #[inline(always)]
    unsafe fn get(from: *const u8) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn get_first(from: *const u8, n: usize) -> __m256 {
        let mut bytes = [0; 8];
        unsafe {
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), n);
            Self::get(bytes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn put(to: *mut u8, v: __m256) {
        unsafe { _mm_storel_epi64(to.cast(), saturated(v)) }
    }
    #[inline(always)]
    unsafe fn put_first(to: *mut u8, n: usize, v: __m256) {
        let mut bytes = [0; 8];
        unsafe {
            _mm_storel_epi64(bytes.as_mut_ptr().cast(), saturated(v));
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, n);
        }
    }
    #[inline(always)]
    unsafe fn splat_group(from: *const u8) -> __m256i {
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn splat_part(from: *const u8, n: usize) -> __m256i {
        let mut group = [0; 4];
        unsafe {
            std::ptr::copy_nonoverlapping(from, group.as_mut_ptr(), n);
            _mm256_set1_epi32(i32::from_ne_bytes(group))
        }
    }
    #[inline(always)]
    unsafe fn load_groups(from: *const u8) -> __m256i {
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline(always)]
    unsafe fn multiply(a: __m256i, b: __m256i, sum: __m256) -> __m256 {
        // The variant without saturation.
        unsafe { _mm256_castsi256_ps(_mm256_dpbusd_avx_epi32(_mm256_castps_si256(sum), a, b)) }
    }
    #[inline(always)]
    unsafe fn numbers(sums: __m256) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(_mm256_castps_si256(sums)) }
    }
}

/// Converts to bytes from 0 to 255, in the lower half; 0 for NaN.
#[inline(always)]
unsafe fn saturated(v: __m256) -> __m128i {
    // SAFETY: the caller promises that the processor has AVX2.
    unsafe {
        let whole = _mm256_cvtps_epi32(Avx2::min(Avx2::max(v, Avx2::splat(0.0)), Avx2::splat(255.0)));
        let words = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256::<1>(whole));
        _mm_packus_epi16(words, words)
    }
}

byte_kernels!(
    BYTES,
    avx2::Avx2,
    simd::Plain,
    avx_vnni::Bytes,
    [#[target_feature(enable = "avx2,fma,avxvnni")]],
    tiles: [(12, 1), (6, 2)],
    peak: 12
);

/// Bytes for quantized layers, and `f32`.
pub(super) static KERNELS: Kernels = Kernels { isa: Isa::AvxVnni, bytes: Some(&BYTES), ..avx2::KERNELS };
