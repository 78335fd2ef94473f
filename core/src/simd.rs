//! Plain loops, compiled for the vectors that the processor has.

/// Runs `work` compiled for wide vectors where the processor has them: what is inlined into it uses them, and gives the same
/// bits, since nothing is fused or reordered.
#[inline(always)]
pub(crate) fn widest<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}
