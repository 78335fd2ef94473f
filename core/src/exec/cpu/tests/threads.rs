//! Results do not depend on the number of threads, also with more threads than the machine has cores.

use std::sync::Arc;

use super::naive::GeneratedWeights;
use super::random::seeded_program;
use super::{bits, executor, run};
use crate::exec::Executor;
use crate::exec::cpu::pool::Pool;
use crate::exec::cpu::{CpuExecutor, Isa};
use crate::net::{Padding, Program, ProgramBuilder, Rate, Shape, Weights};

/// Numbers of threads to compare with one.
const THREADS: [usize; 5] = [2, 3, 7, 16, 33];

/// The kinds of step of a UNet and an autoencoder, at sizes at which more threads get smaller pieces.
fn layers(side: usize, c: usize, wide: usize) -> ProgramBuilder {
    let mut b = ProgramBuilder::new("layers");
    let x = b.input("x", Shape::new(2, side, side, c), Rate::Frame);
    let y = b.group_norm("norm", x, 4, 1e-5);
    let y = b.silu(y);
    let y = b.conv3x3("conv", y, wide);
    let tokens = b.layer_norm("layer_norm", y, 1e-5);
    let [q, k, v] = ["q", "k", "v"].map(|name| b.linear(name, tokens, 96, false));
    let attended = b.attention([q, k, v], 2, false, vec![0, 1]);
    let attended = b.linear("project", attended, wide, true);
    let y = b.add(y, attended);
    let gated = b.linear("gate", y, 2 * c, true);
    let gated = b.geglu(gated);
    let both = b.concat(gated, x);
    let large = b.conv2d("up", both, c, 3, 1, Padding::all(1), true, true);
    let small = b.conv2d("down", large, 7, 3, 2, Padding::all(1), false, true);
    b.output("large", large);
    b.output("small", small);
    b
}

/// Checks every instruction set with every number of threads.
fn check(builder: ProgramBuilder) {
    let program: Arc<Program> = Arc::new(builder.finish().unwrap());
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        let weights = Weights::new(Arc::new(GeneratedWeights));
        let on = |threads| {
            // All threads work, not only as many as there are cores.
            let pool = Arc::new(Pool::on_cores(threads, threads, false).unwrap());
            let executor = CpuExecutor { pool, ..executor(isa, 1) };
            bits(&run(&*executor.compile(&program, &weights).unwrap()))
        };
        let one = on(1);
        for threads in THREADS {
            assert!(on(threads) == one, "{isa:?} with {threads} threads\n{:#?}", program.ops());
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_bytes_of_one() {
    // The second has blocks of Winograd's algorithm that threads share, the last several pieces of each piece's pixels.
    for (side, c, wide) in [(8, 20, 70), (8, 192, 64), (21, 36, 65)] {
        check(layers(side, c, wide));
    }
}

#[test]
fn random_programs_give_the_bytes_of_one_thread_on_any_number() {
    for seed in 1..=6 {
        check(seeded_program(seed, 20));
    }
}
