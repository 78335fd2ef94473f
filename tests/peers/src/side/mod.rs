//! A side of a comparison: keeps a network warm, and times it on request.
//!
//! After a first pass it writes [`Ready`] as one line of JSON; then for each line `run N` that it reads, it writes the
//! [`Times`] of N passes. It ends with its input. `side.py` uses the same protocol.

#[cfg(feature = "candle")]
mod candle;
pub(crate) mod ours;

use std::io::{BufRead, Write};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::options::{Library, SideOptions};
use crate::{Result, system};

/// Numbers of the output that are shown.
const PROBES: usize = 512;

/// The message of a side once it is warm.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// The library, and what it uses of this machine.
    pub(crate) about: String,
    /// Some numbers of the last output, channels last, evenly spread; empty where the weights are not ours.
    #[serde(default)]
    pub(crate) probe: Vec<f32>,
}

/// How long passes took, in milliseconds, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) ms: Vec<f64>,
}

/// A warm network, or several in a row.
trait Warm {
    fn about(&self) -> String;

    /// Runs once.
    fn run(&mut self) -> Result<()>;

    /// The last output, channels last.
    fn output(&self) -> Result<Vec<f32>>;
}

/// Is a side, until the input ends.
///
/// # Errors
///
/// Where the network cannot be built or run, or the input is not of the protocol.
pub(crate) fn run(options: &SideOptions) -> Result<()> {
    system::die_with_parent()?;
    let case = options.case();
    let mut network: Box<dyn Warm> = match options.of {
        Library::Dreamframe => Box::new(ours::Ours::new(&case)?),
        #[cfg(feature = "candle")]
        Library::Candle => Box::new(candle::Candle::new(&case)?),
        #[cfg(not(feature = "candle"))]
        Library::Candle => return Err("built without the feature candle".into()),
    };
    serve(&mut *network, options.runs, std::io::stdin().lock(), std::io::stdout().lock())
}

/// Answers `commands`; a pass is `runs` runs.
fn serve(network: &mut dyn Warm, runs: usize, commands: impl BufRead, mut output: impl Write) -> Result<()> {
    let pass = |network: &mut dyn Warm| -> Result<f64> {
        let start = Instant::now();
        for _ in 0..runs {
            network.run()?;
        }
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    pass(network)?;
    let numbers = network.output()?;
    let probe = numbers.iter().step_by(numbers.len().div_ceil(PROBES).max(1)).copied().collect();
    let ready = Ready { about: network.about(), probe };
    writeln!(output, "{}", serde_json::to_string(&ready)?)?;
    output.flush()?;
    for line in commands.lines() {
        let line = line?;
        let count = line.strip_prefix("run ").and_then(|count| count.parse::<usize>().ok());
        let count = count.ok_or_else(|| format!("{line:?} is no command; there is: run N"))?;
        let ms = (0..count).map(|_| pass(network)).collect::<Result<_>>()?;
        writeln!(output, "{}", serde_json::to_string(&Times { ms })?)?;
        output.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Counting {
        runs: usize,
    }

    impl Warm for Counting {
        fn about(&self) -> String {
            "counts".into()
        }

        fn run(&mut self) -> Result<()> {
            self.runs += 1;
            Ok(())
        }

        fn output(&self) -> Result<Vec<f32>> {
            Ok((0..2000).map(|number| number as f32).collect())
        }
    }

    fn serve_lines(lines: &str) -> (Result<()>, Vec<String>, usize) {
        let (mut network, mut output) = (Counting::default(), Vec::new());
        let done = serve(&mut network, 3, lines.as_bytes(), &mut output);
        let answers = String::from_utf8(output).unwrap().lines().map(str::to_owned).collect();
        (done, answers, network.runs)
    }

    #[test]
    fn side_returns_the_times_of_the_requested_passes() {
        let (done, answers, runs) = serve_lines("run 2\nrun 1\n");
        done.unwrap();
        let ready: Ready = serde_json::from_str(&answers[0]).unwrap();
        assert_eq!(ready.about, "counts");
        assert_eq!(ready.probe[..3], [0.0, 4.0, 8.0]);
        let counts = answers[1..].iter().map(|line| serde_json::from_str::<Times>(line).unwrap().ms.len());
        assert_eq!(counts.collect::<Vec<_>>(), [2, 1]);
        assert_eq!(runs, 3 * (1 + 2 + 1));
    }

    #[test]
    fn another_command_ends_it_with_its_text() {
        let (done, answers, _) = serve_lines("walk 2\n");
        assert_eq!(done.unwrap_err().to_string(), "\"walk 2\" is no command; there is: run N");
        assert_eq!(answers.len(), 1);
    }
}
