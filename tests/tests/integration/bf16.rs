//! Pictures made in bf16, where the processor multiplies it.

use dreamframe::cpu;
use dreamframe::exec::Dtype;
use dreamframe_tests::frames::{demo_engine, pictures, psnr};

const SIDE: u32 = 128;
const FRAMES: usize = 6;

fn made_in(dtype: Dtype, threads: usize) -> Vec<Vec<u8>> {
    let mut engine = demo_engine(SIDE, |_, options| (options.dtype, options.threads) = (dtype, Some(threads)));
    pictures(&mut engine, FRAMES)
}

/// Tells why nothing is tested, where the instructions lack.
fn possible() -> bool {
    let lacks = cpu::check_dtype(Dtype::Bf16).err();
    if let Some(lacks) = &lacks {
        eprintln!("skipped: {lacks}");
    }
    lacks.is_none()
}

#[test]
fn pictures_are_as_good_as_in_f32() {
    if possible() {
        let likeness = psnr(&made_in(Dtype::F32, 2), &made_in(Dtype::Bf16, 2));
        assert!(likeness >= 34.0, "{likeness} dB");
        assert!(likeness < 90.0, "nothing was rounded");
    }
}

#[test]
fn pictures_do_not_depend_on_the_number_of_threads() {
    if possible() {
        assert!(made_in(Dtype::Bf16, 1) == made_in(Dtype::Bf16, 2));
    }
}
