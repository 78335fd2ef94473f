//! The control kernel: how fast the machine is at this moment, whatever the sides do.

use std::time::{Duration, Instant};

use dreamframe::exec::Executor;
use dreamframe::exec::cpu::CpuExecutor;

use crate::Result;
use crate::case::Case;
use crate::side::ours;

/// Long enough to see work of others on the cores, short beside a turn.
const LENGTH: Duration = Duration::from_millis(150);

/// Loops of multiplications and additions that touch no memory, on as many threads as a side has.
#[derive(Debug)]
pub(crate) struct Control(CpuExecutor);

impl Control {
    /// Starts the threads, for the number format and the threads of `case`.
    ///
    /// # Errors
    ///
    /// Where this machine has no such executor.
    pub(crate) fn new(case: &Case) -> Result<Self> {
        let control = Self(ours::executor(case)?);
        debug_assert_eq!(control.0.threads(), case.threads.get());
        Ok(control)
    }

    /// Billions of operations a second, over about [`LENGTH`].
    pub(crate) fn rate(&self) -> f64 {
        let start = Instant::now();
        let (mut turns, mut seconds) = (0.0, 0.0);
        while start.elapsed() < LENGTH {
            turns += 1.0;
            seconds += self.0.peak().recip();
        }
        turns / seconds
    }
}
