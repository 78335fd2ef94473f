//! Rounds: ours, the peer, and the control kernel before each and after both.

use serde::Serialize;

use crate::stats::Spread;
use crate::{Result, say};

/// Maximum number of rounds for each requested one.
const ATTEMPTS: usize = 3;

/// A side that can be timed.
pub(crate) trait Side {
    /// Takes a turn.
    ///
    /// # Errors
    ///
    /// Where the side fails.
    fn turn(&mut self) -> Result<Turn>;
}

/// A turn of a side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Turn {
    /// Milliseconds of one pass, the median.
    pub(crate) ms: f64,
    /// Milliseconds that the side's threads were on cores for one pass, in all, the mean.
    pub(crate) core_ms: f64,
}

/// One turn of each side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Round {
    pub(crate) ours: Turn,
    pub(crate) peer: Turn,
    /// What the control kernel did before ours, between the two, and after the peer's.
    pub(crate) controls: [f64; 3],
}

/// Rounds as they were done, and which of them count.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rounds {
    pub(crate) quiet: Vec<Round>,
    pub(crate) disturbed: usize,
    pub(crate) control: Spread,
}

/// Does one round.
///
/// # Errors
///
/// Where a side fails.
pub(crate) fn round(
    control: &mut dyn FnMut() -> Result<f64>,
    ours: &mut dyn Side,
    peer: &mut dyn Side,
) -> Result<Round> {
    let before = control()?;
    let ours = ours.turn()?;
    let between = control()?;
    let peer = peer.turn()?;
    Ok(Round { ours, peer, controls: [before, between, control()?] })
}

/// Does rounds until `wanted` of them are quiet, or [`ATTEMPTS`] times as many are done.
///
/// # Errors
///
/// Where a side fails, and where no round was quiet.
pub(crate) fn collect(wanted: usize, tolerance: f64, round: &mut dyn FnMut() -> Result<Round>) -> Result<Rounds> {
    let mut all = Vec::new();
    loop {
        let next = round()?;
        say(&format!(
            "  round {}: ours {:.1} ms, peer {:.1} ms, control {:.0} {:.0} {:.0}\n",
            all.len() + 1,
            next.ours.ms,
            next.peer.ms,
            next.controls[0],
            next.controls[1],
            next.controls[2]
        ));
        all.push(next);
        let Some(rounds) = judge(&all, tolerance) else { continue };
        if rounds.quiet.len() >= wanted {
            return Ok(rounds);
        }
        if all.len() >= ATTEMPTS * wanted {
            return if rounds.quiet.is_empty() {
                Err(format!("the machine was busy in each of {} rounds: {:?}", all.len(), rounds.control).into())
            } else {
                Ok(rounds)
            };
        }
    }
}

/// Sorts out the rounds in which a control was off the median of all controls by more than `tolerance`, a share of it.
fn judge(all: &[Round], tolerance: f64) -> Option<Rounds> {
    let control = Spread::of(all.iter().flat_map(|round| round.controls))?;
    let near = |rate: f64| (rate / control.median - 1.0).abs() <= tolerance;
    let quiet: Vec<Round> = all.iter().filter(|round| round.controls.iter().all(|&rate| near(rate))).copied().collect();
    Some(Rounds { disturbed: all.len() - quiet.len(), quiet, control })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(controls: [f64; 3]) -> Round {
        Round { ours: Turn { ms: 1.0, core_ms: 2.0 }, peer: Turn { ms: 2.0, core_ms: 4.0 }, controls }
    }

    #[test]
    fn a_round_with_a_control_off_by_more_than_the_tolerance_does_not_count() {
        let all = [
            with([500.0, 510.0, 490.0]),
            with([500.0, 449.0, 500.0]),
            with([451.0, 500.0, 549.0]),
            with([500.0, 500.0, 551.0]),
        ];
        let rounds = judge(&all, 0.1).unwrap();
        assert_eq!(rounds.quiet, [all[0], all[2]]);
        assert_eq!(rounds.disturbed, 2);
        assert_eq!(rounds.control, Spread { median: 500.0, min: 449.0, max: 551.0 });
        assert_eq!(judge(&all, 0.2).unwrap().disturbed, 0);
    }

    #[test]
    fn disturbed_rounds_are_done_again() {
        let mut rates = [500.0, 200.0, 500.0, 500.0, 501.0].into_iter();
        let mut round = || Ok(with([500.0, rates.next().unwrap(), 500.0]));
        let rounds = collect(3, 0.1, &mut round).unwrap();
        assert_eq!((rounds.quiet.len(), rounds.disturbed), (3, 1));
    }

    #[test]
    fn a_machine_that_is_never_quiet_gives_no_figure() {
        let mut rate = 1.0;
        let mut done = 0;
        let mut round = || {
            done += 1;
            rate *= 2.0;
            Ok(with([rate, rate * 1000.0, rate]))
        };
        let refused = collect(2, 0.1, &mut round).unwrap_err();
        assert_eq!(done, 2 * ATTEMPTS);
        assert!(refused.to_string().contains("busy in each of 6 rounds"), "{refused}");
    }

    #[test]
    fn sides_take_turns_with_the_control_around_each() {
        struct Named<'a>(&'static str, Turn, &'a std::cell::RefCell<Vec<&'static str>>);
        impl Side for Named<'_> {
            fn turn(&mut self) -> Result<Turn> {
                self.2.borrow_mut().push(self.0);
                Ok(self.1)
            }
        }
        let order = std::cell::RefCell::new(Vec::new());
        let mut control = || {
            order.borrow_mut().push("control");
            Ok(500.0)
        };
        let [quick, slow] = [10.0, 20.0].map(|ms| Turn { ms, core_ms: 2.0 * ms });
        let (mut ours, mut peer) = (Named("ours", quick, &order), Named("peer", slow, &order));
        let done = round(&mut control, &mut ours, &mut peer).unwrap();
        assert_eq!(done, Round { ours: quick, peer: slow, controls: [500.0; 3] });
        assert_eq!(order.into_inner(), ["control", "ours", "control", "peer", "control"]);
    }
}
