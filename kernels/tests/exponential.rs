//! Tests of the exponential function, which has no public entry point except for tests.

#![allow(unsafe_code, reason = "calls a kernel by itself")]

use dreamframe_kernels::Isa;

#[test]
fn exponentials_are_good_to_the_last_bits() {
    for isa in Isa::ALL {
        let Some(kernels) = isa.kernels() else { continue };
        let x = (-870..880).map(|i| i as f32 * 0.1).collect::<Vec<_>>();
        let mut y = x.clone();
        // SAFETY: the processor has the instructions, or there would be no table.
        unsafe { (kernels.exp)(&mut y) };
        for (x, y) in x.into_iter().zip(y) {
            let expected = f64::from(x).exp();
            assert!((f64::from(y) / expected - 1.0).abs() < 3e-7, "{isa:?}: e^{x} is {expected}, not {y}");
        }
    }
}
