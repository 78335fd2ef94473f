//! Conversions between number formats on every instruction set, of lengths with and without an incomplete vector.

#![allow(unsafe_code, reason = "calls kernels by themselves")]

use dreamframe_kernels::definitions::noise;
use dreamframe_kernels::{ByteScale, Convert, Isa, ToBytes};
use half::bf16;

const MOST: usize = 37;

/// What memory past the end of a result keeps.
const UNTOUCHED: u8 = 0xa5;

#[test]
fn stored_numbers_are_the_nearest_of_their_format_and_nothing_else_is_written() {
    for kernels in Isa::ALL.into_iter().filter_map(Isa::kernels) {
        for len in 0..=MOST {
            let numbers: Vec<f32> = noise(len as u64 + 1, len).into_iter().map(|x| x * 100.0).collect();
            // Of words, since stored numbers are aligned.
            let mut stored = vec![u32::from_ne_bytes([UNTOUCHED; 4]); (len + 1) * kernels.size / 4 + 1];
            let mut loaded = vec![0.0_f32; len];
            // SAFETY: the processor has the instructions, or there would be no table; all memory has `len` elements.
            unsafe {
                (kernels.store)(&Convert { from: numbers.as_ptr().cast(), to: stored.as_mut_ptr().cast(), len });
                (kernels.load)(&Convert { from: stored.as_ptr().cast(), to: loaded.as_mut_ptr().cast(), len });
            }
            let nearest = |&x: &f32| if kernels.stores_f32() { x } else { bf16::from_f32(x).to_f32() };
            assert_eq!(loaded, numbers.iter().map(nearest).collect::<Vec<_>>(), "{:?}, {len}", kernels.isa);
            let bytes: Vec<u8> = stored.iter().flat_map(|word| word.to_ne_bytes()).collect();
            assert!(bytes[len * kernels.size..].iter().all(|&byte| byte == UNTOUCHED), "{:?}, {len}", kernels.isa);
        }
    }
}

#[test]
fn quantized_numbers_are_the_definitions_bytes_and_nothing_else_is_written() {
    let scale = ByteScale::new(0.02, 100).unwrap();
    for kernels in Isa::ALL.into_iter().filter_map(Isa::kernels) {
        let Some(bytes) = kernels.bytes else { continue };
        for channels in 1..=MOST {
            let mut numbers: Vec<f32> = noise(channels as u64, channels).into_iter().map(|x| x * 4.0).collect();
            numbers[channels / 2] = f32::NAN;
            let mut stored = vec![0_u32; channels * kernels.size / 4 + 1];
            let mut to = vec![UNTOUCHED; channels + 1];
            // SAFETY: as above.
            unsafe {
                (kernels.store)(&Convert {
                    from: numbers.as_ptr().cast(),
                    to: stored.as_mut_ptr().cast(),
                    len: channels,
                });
                (bytes.to_bytes)(&ToBytes {
                    x: stored.as_ptr().cast(),
                    ld: channels,
                    to: to.as_mut_ptr(),
                    pixels: 1,
                    channels,
                    inverse: 1.0 / scale.scale(),
                    zero: f32::from(scale.zero()),
                });
            }
            let nearest = |x: f32| if kernels.stores_f32() { x } else { bf16::from_f32(x).to_f32() };
            let less = if bytes.signed { 128 } else { 0 };
            let expected = numbers.iter().map(|&x| scale.byte(nearest(x)).wrapping_sub(less));
            assert_eq!(to[..channels], expected.collect::<Vec<_>>(), "{:?}", kernels.isa);
            assert_eq!(to[channels], UNTOUCHED, "{:?}, {channels}", kernels.isa);
        }
    }
}
