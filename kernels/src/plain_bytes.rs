//! Portable kernels for bytes, so that the code around such kernels is tested on every machine.

use super::portable::Portable;
use super::simd::Storage;
use super::{Isa, Kernels, byte_kernels, portable};

#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes;

// SAFETY, for all blocks below: the caller promises that the pointers reach as far as the trait says.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
impl Storage<Portable> for Bytes {
    type Stored = u8;
    type Factors = [[u8; 4]; 4];
    const GROUP: usize = 4;
    const COARSE: bool = true;
    const WHOLE: bool = true;

    unsafe fn get(from: *const u8) -> [f32; 4] {
        unsafe { from.cast::<[u8; 4]>().read() }.map(f32::from)
    }
    unsafe fn get_first(from: *const u8, n: usize) -> [f32; 4] {
        std::array::from_fn(|i| if i < n { unsafe { f32::from(*from.add(i)) } } else { 0.0 })
    }
    unsafe fn put(to: *mut u8, v: [f32; 4]) {
        unsafe { to.cast::<[u8; 4]>().write(v.map(|x| x as u8)) }
    }
    unsafe fn put_first(to: *mut u8, n: usize, v: [f32; 4]) {
        (0..n).for_each(|i| unsafe { *to.add(i) = v[i] as u8 });
    }
    unsafe fn splat_group(from: *const u8) -> Self::Factors {
        [unsafe { from.cast::<[u8; 4]>().read() }; 4]
    }
    unsafe fn splat_part(from: *const u8, n: usize) -> Self::Factors {
        [std::array::from_fn(|i| if i < n { unsafe { *from.add(i) } } else { 0 }); 4]
    }
    unsafe fn load_groups(from: *const u8) -> Self::Factors {
        unsafe { from.cast::<Self::Factors>().read() }
    }
    unsafe fn multiply(a: Self::Factors, b: Self::Factors, sum: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|lane| {
            let products = a[lane].iter().zip(b[lane]).map(|(&a, b)| i32::from(a) * i32::from(b as i8));
            f32::from_bits((products.sum::<i32>() + sum[lane].to_bits() as i32) as u32)
        })
    }
    unsafe fn numbers(sums: [f32; 4]) -> [f32; 4] {
        sums.map(|sum| sum.to_bits() as i32 as f32)
    }
}

byte_kernels!(BYTES, portable::Portable, simd::Plain, plain_bytes::Bytes, [], tiles: [(8, 1), (4, 2)], peak: 4);

pub static KERNELS: Kernels = Kernels { isa: Isa::Int8, bytes: Some(&BYTES), ..portable::KERNELS };
