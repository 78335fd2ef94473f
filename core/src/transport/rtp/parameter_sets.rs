//! H.264 parameter sets, stored so that every key frame can be preceded by them.

use bytes::Bytes;

use super::bits::Bits;

/// The type of a sequence parameter set.
pub const SEQUENCE: u8 = 7;
/// The type of a picture parameter set.
pub const PICTURE: u8 = 8;

/// The start code before each NAL unit in Annex B form.
pub(crate) const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Limits of the sets: their number, the bytes of each, and of all together; far more than senders use. Every key frame
/// may be preceded by all of them.
const MOST: usize = 32;
const LONGEST: usize = 4096;
const MOST_BYTES: usize = 16 << 10;

/// The newest parameter sets of a stream.
#[derive(Debug, Default)]
pub struct ParameterSets {
    /// Type, number, and the NAL unit; sequence parameter sets first.
    sets: Vec<(u8, u32, Bytes)>,
}

impl ParameterSets {
    /// Keeps `nal` if it is a parameter set, in place of the one with its number; returns whether that changed anything.
    pub fn keep(&mut self, nal: &[u8]) -> bool {
        self.add(nal) == Some(true)
    }

    /// Like [`keep`](Self::keep); `None` for other units, and for sets beyond the limits.
    pub fn add(&mut self, nal: &[u8]) -> Option<bool> {
        let (kind, number) = name(nal).filter(|_| nal.len() <= LONGEST)?;
        let found = self.sets.binary_search_by_key(&(kind, number), |(kind, number, _)| (*kind, *number));
        let replaced = found.ok().and_then(|place| self.sets.get(place)).map_or(0, |(_, _, kept)| kept.len());
        let bytes = self.sets.iter().map(|(_, _, kept)| kept.len()).sum::<usize>() - replaced + nal.len();
        if bytes > MOST_BYTES || found.is_err() && self.sets.len() >= MOST {
            return None;
        }
        match found {
            Ok(place) => match self.sets.get_mut(place) {
                Some((_, _, kept)) if *kept != nal => *kept = Bytes::copy_from_slice(nal),
                _ => return Some(false),
            },
            Err(place) => self.sets.insert(place, (kind, number, Bytes::copy_from_slice(nal))),
        }
        Some(true)
    }

    /// Returns true if there is one of each kind, without which no picture can be decoded.
    pub fn complete(&self) -> bool {
        [SEQUENCE, PICTURE].into_iter().all(|wanted| self.sets.iter().any(|(kind, ..)| *kind == wanted))
    }

    /// Writes all of them in Annex B form.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (_, _, nal) in &self.sets {
            out.extend_from_slice(&START_CODE);
            out.extend_from_slice(nal);
        }
    }
}

/// The type and number of a parameter set; `None` for any other NAL unit.
fn name(nal: &[u8]) -> Option<(u8, u32)> {
    let (&header, payload) = nal.split_first()?;
    let mut bits = Bits::new(payload);
    match header & 0x1f {
        SEQUENCE => {
            bits.number(24)?;
            Some((SEQUENCE, bits.exp()?))
        }
        PICTURE => Some((PICTURE, bits.exp()?)),
        _ => None,
    }
}

/// Cuts a unit in Annex B form at its start codes.
pub fn nals(unit: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(unit);
    std::iter::from_fn(move || {
        let from = rest?;
        rest = after_start_code(from);
        let length = from.len() - rest.map_or(0, |rest| rest.len() + 3);
        let nal = from.get(..length)?;
        // The zero of a start code of four bytes, and trailing zeros.
        let end = nal.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        nal.get(..end)
    })
}

fn after_start_code(bytes: &[u8]) -> Option<&[u8]> {
    let at = bytes.windows(3).position(|window| window == [0, 0, 1])?;
    bytes.get(at + 3..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_cut_at_start_codes_of_either_length() {
        let unit = [0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 1, 0x65, 4, 5];
        let cut: Vec<_> = nals(&unit).collect();
        assert_eq!(cut, [&[0x67, 1, 2][..], &[0x68, 3], &[0x65, 4, 5]]);
        assert_eq!(nals(&[1, 2, 3]).count(), 0);
    }

    #[test]
    fn a_set_replaces_the_one_with_its_number() {
        let mut sets = ParameterSets::default();
        let first = [0x67, 66, 0, 31, 0b1000_0000];
        let other = [0x67, 66, 0, 31, 0b0100_0000];
        let changed = [0x67, 66, 0, 40, 0b1000_0000];
        assert!(sets.keep(&first) && sets.keep(&other) && !sets.keep(&first) && !sets.complete());
        assert!(sets.keep(&changed) && sets.keep(&[0x68, 0b1000_0000]) && sets.complete());
        let mut out = Vec::new();
        sets.write(&mut out);
        let kept: Vec<_> = nals(&out).collect();
        assert_eq!(kept, [&changed[..], &other, &[0x68, 0b1000_0000]]);
    }

    #[test]
    fn other_units_are_not_kept_as_parameter_sets() {
        let mut sets = ParameterSets::default();
        assert!(!sets.keep(&[]) && !sets.keep(&[0x67]) && !sets.keep(&[0x67, 1, 2, 3, 0]) && !sets.keep(&[0x65, 0x80]));
        let number = |id: u8| [0x67, 66, 0, 31, 1, id, 0x80];
        (0..255).for_each(|id| {
            sets.keep(&number(id));
        });
        assert!(sets.sets.len() <= MOST);
        assert_eq!((sets.add(&[0x65, 0x80]), sets.add(&number(1)), sets.add(&number(254))), (None, Some(false), None));
    }

    #[test]
    fn all_sets_together_have_a_bound_within_which_they_may_change() {
        let mut sets = ParameterSets::default();
        let set = |id: u8, len: usize| [&[0x67, 66, 0, 31, 0x80 >> id | 1][..], &vec![7; len]].concat();
        let kept = (0..7).filter(|id| sets.keep(&set(*id, 4000))).count();
        assert_eq!(kept, 4);
        assert_eq!(
            (sets.add(&set(0, 4001)), sets.add(&set(0, 10)), sets.add(&set(4, 3000))),
            (Some(true), Some(true), Some(true))
        );
        assert_eq!(sets.add(&set(5, 4092)), None, "too long by itself");
    }
}
