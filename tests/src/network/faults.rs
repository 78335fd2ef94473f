//! Descriptions of network faults, drawn from a seed.

use std::fmt;
use std::time::Duration;

use super::random::Random;
use super::{Direction, Impairment, Malformed};

/// What is wrong with a network, or with other clients of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// Datagrams are lost at random.
    Loss,
    /// Datagrams arrive in another order.
    Reordering,
    /// Datagrams arrive twice.
    Duplication,
    /// Bits of datagrams are inverted.
    Corruption,
    /// Datagrams lose their end.
    Truncation,
    /// Old datagrams arrive again.
    Replay,
    /// Datagrams are delayed.
    Delay,
    /// The delay of datagrams varies.
    Jitter,
    /// Every datagram is lost.
    Blackout,
    /// Nothing is read; datagrams arrive at once afterwards, as many as the buffer of the socket holds.
    Stall,
    /// The server receives from another port.
    Rebinding,
    /// The clock of the publisher's pictures jumps, and jumps back.
    ClockJump,
    /// Clients make requests and do not read the responses.
    SlowReaders,
    /// Many connections and offers that are abandoned.
    ConnectionStorm,
    /// Malformed datagrams arrive from the address of the other side.
    Malformed(Malformed),
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [Self; 19] = [
        Self::Loss,
        Self::Reordering,
        Self::Duplication,
        Self::Corruption,
        Self::Truncation,
        Self::Replay,
        Self::Delay,
        Self::Jitter,
        Self::Blackout,
        Self::Stall,
        Self::Rebinding,
        Self::ClockJump,
        Self::SlowReaders,
        Self::ConnectionStorm,
        Self::Malformed(Malformed::Stun),
        Self::Malformed(Malformed::Dtls),
        Self::Malformed(Malformed::Rtp),
        Self::Malformed(Malformed::Rtcp),
        Self::Malformed(Malformed::Noise),
    ];
}

/// The client whose link has a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The one that publishes.
    Publisher,
    /// The one that watches.
    Viewer,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// Whose link it affects, if it affects a link.
    pub side: Side,
    /// The affected directions, if it affects a link.
    pub directions: &'static [Direction],
    /// How long it lasts.
    pub duration: Duration,
    /// How severe it is, from 1 to 100.
    pub intensity: u32,
    /// Selects what is random about it.
    pub seed: u64,
}

/// Faults one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The number of the script, among those of the same seed.
    pub number: u32,
    /// The faults.
    pub faults: Vec<Fault>,
}

/// The shortest and the longest fault, and the longest without any packet, in milliseconds.
const MS: (u32, u32, u32) = (300, 1500, 3000);
/// One blackout of this many lasts so long that the connection counts as disconnected, in milliseconds.
const LONG_BLACKOUT: (u32, u32) = (8, 5500);

impl Script {
    /// Draws a script of one to three faults. Those of consecutive numbers begin with all kinds in turn.
    pub fn draw(seed: u64, number: u32) -> Self {
        let mut random = Random::new(seed ^ u64::from(number).wrapping_mul(0xd134_2543_de82_ef95));
        let first = FaultKind::ALL[number as usize % FaultKind::ALL.len()];
        let more = random.below(3);
        let mut faults = vec![Fault::draw(first, &mut random)];
        for _ in 0..more {
            let kind = random.choose(&FaultKind::ALL).unwrap_or(first);
            faults.push(Fault::draw(kind, &mut random));
        }
        Self { number, faults }
    }
}

impl Fault {
    /// Draws a fault of a kind.
    pub fn of(kind: FaultKind, seed: u64) -> Self {
        Self::draw(kind, &mut Random::new(seed))
    }

    fn draw(kind: FaultKind, random: &mut Random) -> Self {
        let side = random.choose(&[Side::Publisher, Side::Viewer]).unwrap_or(Side::Viewer);
        let directions: &[&'static [Direction]] = &[&[Direction::ToServer], &[Direction::FromServer], &Direction::BOTH];
        let directions = random.choose(directions).unwrap_or(&Direction::BOTH);
        let ms = if kind == FaultKind::Blackout && random.below(LONG_BLACKOUT.0) == 0 {
            LONG_BLACKOUT.1
        } else if matches!(kind, FaultKind::Blackout | FaultKind::Stall) {
            random.between(MS.0, MS.2)
        } else {
            random.between(MS.0, MS.1)
        };
        let duration = Duration::from_millis(ms.into());
        Self { kind, side, directions, duration, intensity: random.between(1, 100), seed: random.next() }
    }

    /// Returns the same fault with at most this duration.
    #[must_use]
    pub fn at_most(mut self, duration: Duration) -> Self {
        self.duration = self.duration.min(duration);
        self
    }

    /// Returns what a link does to datagrams during the fault; `None` if the fault is not of this type.
    pub fn impairment(&self) -> Option<Impairment> {
        let (none, percent) = (Impairment::default(), self.intensity);
        let time = Duration::from_millis(u64::from(percent) * 5);
        Some(match self.kind {
            FaultKind::Loss => Impairment { loss: percent * 5, ..none },
            FaultKind::Reordering => Impairment { reordering: percent * 5, ..none },
            FaultKind::Duplication => Impairment { duplication: percent * 10, ..none },
            FaultKind::Corruption => Impairment { corruption: percent * 5, ..none },
            FaultKind::Truncation => Impairment { truncation: percent * 5, ..none },
            FaultKind::Replay => Impairment { replay: percent * 10, ..none },
            FaultKind::Delay => Impairment { delay: time, ..none },
            FaultKind::Jitter => Impairment { jitter: time, ..none },
            FaultKind::Blackout => Impairment { dark: true, ..none },
            FaultKind::Stall => Impairment { stalled: true, ..none },
            FaultKind::Malformed(kind) => Impairment { malformed: Some((kind, 1 + percent / 5)), ..none },
            FaultKind::Rebinding | FaultKind::ClockJump | FaultKind::SlowReaders | FaultKind::ConnectionStorm => {
                return None;
            }
        })
    }

    /// Returns how often the port changes, for [`FaultKind::Rebinding`].
    pub fn rebindings(&self) -> u32 {
        1 + self.intensity / 34
    }

    /// Returns how far the clock jumps in milliseconds, for [`FaultKind::ClockJump`].
    pub fn jump_ms(&self) -> i64 {
        let ms = i64::from(self.intensity) * 3000;
        if self.seed & 1 == 0 { ms } else { -ms }
    }

    /// Returns the number of connections, for [`FaultKind::SlowReaders`] and [`FaultKind::ConnectionStorm`].
    pub fn connections(&self) -> u32 {
        4 + self.intensity
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let FaultKind::Malformed(kind) = self.kind {
            write!(f, "Malformed{kind:?}")?;
        } else {
            write!(f, "{:?}", self.kind)?;
        }
        write!(f, " {}% {} ms", self.intensity, self.duration.as_millis())?;
        match (self.impairment(), self.kind) {
            (Some(_), _) => match self.directions {
                [one] => write!(f, " {:?} {one:?}", self.side),
                _ => write!(f, " {:?} both ways", self.side),
            },
            (None, FaultKind::Rebinding) => write!(f, " {:?} {} times", self.side, self.rebindings()),
            (None, FaultKind::ClockJump) => write!(f, " by {} ms", self.jump_ms()),
            (None, _) => write!(f, " {} connections", self.connections()),
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, fault) in self.faults.iter().enumerate() {
            write!(f, "{}{fault}", if place == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn scripts(seed: u64) -> Vec<Script> {
        (0..200).map(|number| Script::draw(seed, number)).collect()
    }

    #[test]
    fn a_seed_and_a_number_give_the_same_script() {
        assert_eq!(scripts(1), scripts(1));
        assert_ne!(scripts(1), scripts(2));
        let texts: BTreeSet<_> = scripts(1).iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 200, "all are different");
    }

    #[test]
    fn consecutive_scripts_begin_with_all_kinds() {
        let kinds: BTreeSet<_> =
            (40..40 + FaultKind::ALL.len() as u32).map(|number| Script::draw(3, number).faults[0].kind).collect();
        assert_eq!(kinds.len(), FaultKind::ALL.len());
    }

    #[test]
    fn both_sides_and_all_directions_occur_for_every_kind() {
        for kind in FaultKind::ALL {
            let drawn: BTreeSet<_> =
                (0..200).map(|seed| Fault::of(kind, seed)).map(|fault| (fault.side, fault.directions)).collect();
            assert_eq!(drawn.len(), 6, "{kind:?}");
        }
    }

    #[test]
    fn faults_are_within_their_limits_and_have_an_effect() {
        for fault in scripts(5).into_iter().flat_map(|script| script.faults) {
            assert!((1..=100).contains(&fault.intensity), "{fault}");
            assert!(fault.duration >= Duration::from_millis(300) && fault.duration <= Duration::from_millis(5500));
            assert_ne!(fault.impairment(), Some(Impairment::default()), "{fault}");
            assert!(fault.jump_ms() != 0 && fault.connections() > 4 && (1..=3).contains(&fault.rebindings()));
        }
    }

    #[test]
    fn a_fault_says_what_it_does() {
        let fault = Fault {
            kind: FaultKind::Malformed(Malformed::Stun),
            side: Side::Viewer,
            directions: &[Direction::ToServer],
            duration: Duration::from_millis(500),
            intensity: 10,
            seed: 1,
        };
        assert_eq!(fault.to_string(), "MalformedStun 10% 500 ms Viewer ToServer");
        let fault = Fault { kind: FaultKind::ClockJump, ..fault };
        assert_eq!(fault.to_string(), "ClockJump 10% 500 ms by -30000 ms");
    }
}
