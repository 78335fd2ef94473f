//! What was measured, for people and as JSON.

use std::fmt;

use serde::Serialize;

use crate::Result;
use crate::child::Child;
use crate::figure::Figure;
use crate::rounds::{Round, Rounds};
use crate::stats::Spread;

/// A figure, measured.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    #[serde(flatten)]
    figure: Figure,
    /// Billions of floating-point operations of a pass.
    gflop: f64,
    ours: SideReport,
    peer_side: SideReport,
    /// The peer's median over ours: how many times as fast ours is.
    ratio: f64,
    /// The same of the time on cores. Less hurt by other work on the machine, but a thread that spins is on a core too.
    core_ratio: f64,
    /// The ratio in each round.
    ratio_of_rounds: Spread,
    /// What the control kernel did, in GFLOP/s.
    control: Spread,
    rounds: Vec<Round>,
    disturbed_rounds: usize,
    /// The largest difference of the outputs, as a share of the largest number, where both have the same weights.
    difference: Option<f32>,
}

/// What one side did.
#[derive(Debug, Serialize)]
struct SideReport {
    about: String,
    /// Milliseconds of a pass.
    ms: Spread,
    /// Milliseconds that its threads were on cores for a pass, in all; the median.
    core_ms: f64,
    gflop_per_s: f64,
    /// Of what the control kernel reached.
    share_of_peak: f64,
    peak_memory_mb: u64,
    /// From the start of the process to the end of the first pass.
    first_result_s: f64,
}

impl Measured {
    /// Sums up `rounds` of two `sides`, ours first; `gflop` is what a pass is.
    ///
    /// # Errors
    ///
    /// Where there are no rounds, or a side has ended.
    pub(crate) fn new(figure: &Figure, gflop: f64, rounds: Rounds, sides: [&Child; 2]) -> Result<Self> {
        let Rounds { quiet, disturbed, control } = rounds;
        let of = |value: fn(&Round) -> f64| Spread::of(quiet.iter().map(value)).ok_or("no rounds");
        let side = |child: &Child, ms: Spread, core: Spread| -> Result<SideReport> {
            let gflop_per_s = gflop / ms.median * 1e3;
            Ok(SideReport {
                about: child.ready.about.clone(),
                ms,
                core_ms: core.median,
                gflop_per_s,
                share_of_peak: gflop_per_s / control.median,
                peak_memory_mb: child.peak_memory_mb()?,
                first_result_s: child.first_result.as_secs_f64(),
            })
        };
        let (ours, peer) = (of(|round| round.ours.ms)?, of(|round| round.peer.ms)?);
        let (our_cores, peer_cores) = (of(|round| round.ours.core_ms)?, of(|round| round.peer.core_ms)?);
        let ratio_of_rounds = of(|round| round.peer.ms / round.ours.ms)?;
        let [our_side, peer_side] = sides;
        let has_our_weights = matches!(figure.peer, crate::figure::Peer::Candle);
        Ok(Self {
            figure: *figure,
            gflop,
            ours: side(our_side, ours, our_cores)?,
            peer_side: side(peer_side, peer, peer_cores)?,
            ratio: peer.median / ours.median,
            core_ratio: peer_cores.median / our_cores.median,
            ratio_of_rounds,
            control,
            rounds: quiet,
            disturbed_rounds: disturbed,
            difference: has_our_weights.then(|| difference(&our_side.ready.probe, &peer_side.ready.probe)),
        })
    }

    fn verdict(&self) -> String {
        let Some(target) = self.figure.target else { return String::new() };
        let reached = if self.ratio >= target.aim {
            "aim reached"
        } else if self.ratio >= target.must {
            "must reached"
        } else {
            "MISSED"
        };
        format!("must {:.2}, aim {:.2}: {reached}", target.must, target.aim)
    }
}

/// The largest difference, as a share of the largest number of the peer.
fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    let apart = ours.iter().zip(theirs).map(|(ours, theirs)| (ours - theirs).abs()).fold(0.0, f32::max);
    apart / theirs.iter().map(|number| number.abs()).fold(0.0, f32::max)
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { figure, gflop, ratio, core_ratio, ratio_of_rounds: of_rounds, control, .. } = self;
        writeln!(f, "{figure}; {gflop:.1} GFLOP a pass")?;
        let heading = ["", "median ms", "min", "max", "core ms", "GFLOP/s", "of peak", "peak MB", "first s"];
        let row = |side: &SideReport| {
            [
                side.about.clone(),
                format!("{:.1}", side.ms.median),
                format!("{:.1}", side.ms.min),
                format!("{:.1}", side.ms.max),
                format!("{:.1}", side.core_ms),
                format!("{:.0}", side.gflop_per_s),
                format!("{:.0} %", side.share_of_peak * 100.0),
                side.peak_memory_mb.to_string(),
                format!("{:.1}", side.first_result_s),
            ]
        };
        f.write_str(&table(&[heading.map(str::to_owned), row(&self.ours), row(&self.peer_side)]))?;
        let verdict = self.verdict();
        let comma = if verdict.is_empty() { "" } else { "; " };
        write!(f, "ratio {ratio:.3} (in rounds {:.3} to {:.3}; ", of_rounds.min, of_rounds.max)?;
        writeln!(f, "of time on cores {core_ratio:.3}){comma}{verdict}")?;
        write!(f, "{} quiet rounds, {} disturbed; ", self.rounds.len(), self.disturbed_rounds)?;
        write!(f, "control {:.0} GFLOP/s, spread {:.1} %", control.median, control.share() * 100.0)?;
        if let Some(difference) = self.difference {
            write!(f, "; outputs differ by {difference:.1e} of the largest number")?;
        }
        f.write_str("\n")
    }
}

/// All figures under each other.
pub(crate) fn summary(all: &[Measured]) -> String {
    let heading = ["figure", "ours ms", "peer ms", "ratio", "target"].map(str::to_owned);
    let row = |measured: &Measured| {
        [
            measured.figure.to_string(),
            format!("{:.1}", measured.ours.ms.median),
            format!("{:.1}", measured.peer_side.ms.median),
            format!("{:.3}", measured.ratio),
            measured.verdict(),
        ]
    };
    table(&std::iter::once(heading).chain(all.iter().map(row)).collect::<Vec<_>>())
}

/// Columns as wide as their widest cell, the first flush left and the others right.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for row in rows {
        let mut cells = row.iter().zip(widths);
        let first = cells.next().map(|(cell, width)| format!("{cell:width$}"));
        let line: Vec<String> = first.into_iter().chain(cells.map(|(cell, width)| format!("{cell:>width$}"))).collect();
        text += line.join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["", "ms"], ["ours", "12.5"], ["é", "1"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "        ms\nours  12.5\né        1\n");
    }

    #[test]
    fn outputs_differ_by_a_share_of_the_largest_number() {
        assert_eq!(difference(&[1.0, -3.0], &[1.0, -4.0]), 0.25);
    }
}
