//! Assignment of values with lifetimes to offsets in one memory.

/// The alignment of offsets, in elements: a cache line also for elements of two bytes.
pub(super) const LINE: usize = 32;

/// Memory that is needed for a range of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Need {
    /// Number of elements.
    pub(super) len: usize,
    /// The first step that uses it.
    pub(super) first: usize,
    /// The last one.
    pub(super) last: usize,
}

/// Returns every need an offset, so that no two that live at the same time overlap; returns these and the length of the
/// whole. The largest are placed first, each at the lowest offset that is free for as long as it lives.
///
/// Beyond the address space the total length is `usize::MAX`, which can never be allocated.
pub(super) fn pack(needs: &[Need]) -> (Vec<usize>, usize) {
    let mut order = (0..needs.len()).collect::<Vec<_>>();
    order.sort_by_key(|&i| (std::cmp::Reverse(needs[i].len), needs[i].first));
    let mut offsets = vec![0; needs.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(needs.len());
    let mut total = 0;
    for &i in &order {
        let need = needs[i];
        let mut offset = 0;
        // `placed` is sorted by offset: the first gap that is wide enough is the lowest.
        for &j in &placed {
            let other = needs[j];
            let together = other.first <= need.last && need.first <= other.last;
            let (end, other_end) = (end(offset, need.len), end(offsets[j], other.len));
            if together && offsets[j] < end && offset < other_end {
                offset = rounded_up(other_end);
            }
        }
        offsets[i] = offset;
        total = total.max(end(offset, need.len));
        let at = placed.partition_point(|&j| offsets[j] <= offset);
        placed.insert(at, i);
    }
    (offsets, rounded_up(total))
}

/// Returns the end of `len` elements at `offset`.
fn end(offset: usize, len: usize) -> usize {
    offset.saturating_add(len)
}

/// The next offset from `number` on at which a value may begin.
pub(super) fn rounded_up(number: usize) -> usize {
    number.checked_next_multiple_of(LINE).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn needs_that_never_meet_share_memory() {
        let need = |first, last| Need { len: 100, first, last };
        let (offsets, total) = pack(&[need(0, 1), need(2, 3), need(1, 2)]);
        assert_eq!(offsets[0], offsets[1]);
        assert_eq!(total, 128 + 128);
    }

    #[test]
    fn needs_past_all_memory_take_more_than_there_can_be() {
        let need = Need { len: usize::MAX / 4, first: 0, last: 1 };
        let (_, total) = pack(&[need; 5]);
        assert_eq!(total, usize::MAX);
    }

    proptest! {
        #[test]
        fn needs_that_meet_never_overlap(raw in prop::collection::vec((1usize..500, 0usize..30, 0usize..10), 0..60)) {
            let needs = raw.iter().map(|&(len, first, span)| Need { len, first, last: first + span }).collect::<Vec<_>>();
            let (offsets, total) = pack(&needs);
            for (i, a) in needs.iter().enumerate() {
                prop_assert!(offsets[i] % LINE == 0 && offsets[i] + a.len <= total);
                for (j, b) in needs.iter().enumerate().skip(i + 1) {
                    let together = a.first <= b.last && b.first <= a.last;
                    let overlap = offsets[i] < offsets[j] + b.len && offsets[j] < offsets[i] + a.len;
                    prop_assert!(!(together && overlap), "{i} and {j}");
                }
            }
        }
    }
}
