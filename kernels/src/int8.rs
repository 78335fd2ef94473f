//! AVX-512 VNNI: bytes are multiplied in groups of four and summed as integers; other operations are those of bf16 or, on
//! processors without it, of `f32`.

use std::arch::x86_64::*;

use super::avx512::Avx512;
use super::simd::{Simd, Storage};
use super::{Isa, Kernels, avx512, bf16, byte_kernels};

/// Operands of products: unsigned bytes in rows, signed bytes in weights.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes;

// SAFETY, for all blocks below: the caller promises that the processor has AVX-512F, BW, VL and VNNI, and that the
// pointers reach as far as the trait says. Vectors of sums are cast from vectors of integers as wide.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
impl Storage<Avx512> for Bytes {
    type Stored = u8;
    type Factors = __m512i;
    const GROUP: usize = 4;
    const COARSE: bool = true;
    const WHOLE: bool = true;

    #[inline(always)]
    unsafe fn get(from: *const u8) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn get_first(from: *const u8, n: usize) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first(n), from.cast()))) }
    }
    #[inline(always)]
    unsafe fn put(to: *mut u8, v: __m512) {
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(saturated(v))) }
    }
    #[inline(always)]
    unsafe fn put_first(to: *mut u8, n: usize, v: __m512) {
        unsafe { _mm_mask_storeu_epi8(to.cast(), first(n), _mm512_cvtepi32_epi8(saturated(v))) }
    }
    #[inline(always)]
    unsafe fn splat_group(from: *const u8) -> __m512i {
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn splat_part(from: *const u8, n: usize) -> __m512i {
        let mut group = [0; 4];
        unsafe {
            std::ptr::copy_nonoverlapping(from, group.as_mut_ptr(), n);
            _mm512_set1_epi32(i32::from_ne_bytes(group))
        }
    }
    #[inline(always)]
    unsafe fn load_groups(from: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn multiply(a: __m512i, b: __m512i, sum: __m512) -> __m512 {
        // The variant without saturation.
        unsafe { _mm512_castsi512_ps(_mm512_dpbusd_epi32(_mm512_castps_si512(sum), a, b)) }
    }
    #[inline(always)]
    unsafe fn numbers(sums: __m512) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_castps_si512(sums)) }
    }
}

#[inline(always)]
fn first(n: usize) -> __mmask16 {
    ((1_u32 << n) - 1) as __mmask16
}

/// Converts to integers from 0 to 255; 0 for NaN.
#[inline(always)]
unsafe fn saturated(v: __m512) -> __m512i {
    // SAFETY: the caller promises that the processor has AVX-512F.
    unsafe { _mm512_cvtps_epi32(Avx512::min(Avx512::max(v, Avx512::splat(0.0)), Avx512::splat(255.0))) }
}

byte_kernels!(
    BYTES,
    avx512::Avx512,
    bf16::Bf16,
    int8::Bytes,
    [#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512bf16")]],
    tiles: [(24, 1), (12, 2), (8, 3), (6, 4)],
    peak: 24
);

pub(super) static KERNELS: Kernels = Kernels { isa: Isa::Int8, bytes: Some(&BYTES), ..bf16::KERNELS };

byte_kernels!(
    BYTES_OF_F32,
    avx512::Avx512,
    simd::Plain,
    int8::Bytes,
    [#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]],
    tiles: [(24, 1), (12, 2), (8, 3), (6, 4)],
    peak: 24
);

/// Bytes for quantized layers, and `f32`.
pub(super) static KERNELS_OF_F32: Kernels =
    Kernels { isa: Isa::Avx512Vnni, bytes: Some(&BYTES_OF_F32), ..avx512::KERNELS };
