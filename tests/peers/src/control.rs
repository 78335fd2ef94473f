//! The control kernel: how fast the machine is at this moment, whatever the sides do.

use std::thread;
use std::time::{Duration, Instant};

use dreamframe::exec::cpu::CpuExecutor;

use crate::case::Case;
use crate::side::ours;
use crate::{Result, system};

/// Long enough to detect other work on the cores, short compared with a turn.
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
        Ok(Self(ours::executor(case)?))
    }

    /// Billions of operations a second, over about [`LENGTH`].
    ///
    /// # Errors
    ///
    /// Where the system refuses a core.
    pub(crate) fn rate(&self) -> Result<f64> {
        // On a thread of its own, since what the calling thread starts later must not be kept to one core.
        let measure = || {
            system::keep_to_cores(1).map_err(|error| error.to_string())?;
            Ok(self.measure())
        };
        let measured = thread::scope(|scope| scope.spawn(measure).join());
        let rate: std::result::Result<f64, String> = measured.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(rate?)
    }

    fn measure(&self) -> f64 {
        let start = Instant::now();
        let (mut turns, mut seconds) = (0.0, 0.0);
        while start.elapsed() < LENGTH {
            turns += 1.0;
            seconds += self.0.peak().recip();
        }
        turns / seconds
    }
}
