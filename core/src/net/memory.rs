//! Assignment of buffers with lifetimes to offsets in one allocation.

/// The alignment of offsets, in elements: a cache line for elements of two bytes or more.
pub(super) const LINE: usize = 32;

/// A buffer that is needed for a range of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Buffer {
    /// Number of elements.
    pub(super) len: usize,
    /// The first step that uses it.
    pub(super) first: usize,
    /// The last one.
    pub(super) last: usize,
}

/// Returns an offset for each buffer, and the total length. No two buffers with overlapping lifetimes overlap in
/// memory. The largest are placed first, each at the lowest offset that is free during its lifetime.
///
/// If the total exceeds the address space, it is `usize::MAX`, which can never be allocated.
pub(super) fn pack(buffers: &[Buffer]) -> (Vec<usize>, usize) {
    let mut order = (0..buffers.len()).collect::<Vec<_>>();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].len), buffers[i].first));
    let mut offsets = vec![0; buffers.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(buffers.len());
    let mut total = 0;
    for &i in &order {
        let buffer = buffers[i];
        let mut offset = 0;
        // `placed` is sorted by offset: the first gap that is wide enough is the lowest.
        for &j in &placed {
            let other = buffers[j];
            let together = other.first <= buffer.last && buffer.first <= other.last;
            let (end, other_end) = (end(offset, buffer.len), end(offsets[j], other.len));
            if together && offsets[j] < end && offset < other_end {
                offset = align_up(other_end);
            }
        }
        offsets[i] = offset;
        total = total.max(end(offset, buffer.len));
        let at = placed.partition_point(|&j| offsets[j] <= offset);
        placed.insert(at, i);
    }
    (offsets, align_up(total))
}

/// Returns the end of `len` elements at `offset`.
fn end(offset: usize, len: usize) -> usize {
    offset.saturating_add(len)
}

/// Returns the lowest aligned offset that is at least `offset`.
pub(super) fn align_up(offset: usize) -> usize {
    offset.checked_next_multiple_of(LINE).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buffers_with_disjoint_lifetimes_share_memory() {
        let buffer = |first, last| Buffer { len: 100, first, last };
        let (offsets, total) = pack(&[buffer(0, 1), buffer(2, 3), buffer(1, 2)]);
        assert_eq!(offsets[0], offsets[1]);
        assert_eq!(total, 128 + 128);
    }

    #[test]
    fn a_total_beyond_the_address_space_saturates() {
        let buffer = Buffer { len: usize::MAX / 4, first: 0, last: 1 };
        let (_, total) = pack(&[buffer; 5]);
        assert_eq!(total, usize::MAX);
    }

    proptest! {
        #[test]
        fn buffers_with_overlapping_lifetimes_never_overlap(raw in prop::collection::vec((1usize..500, 0usize..30, 0usize..10), 0..60)) {
            let buffers = raw.iter().map(|&(len, first, span)| Buffer { len, first, last: first + span }).collect::<Vec<_>>();
            let (offsets, total) = pack(&buffers);
            for (i, a) in buffers.iter().enumerate() {
                prop_assert!(offsets[i] % LINE == 0 && offsets[i] + a.len <= total);
                for (j, b) in buffers.iter().enumerate().skip(i + 1) {
                    let together = a.first <= b.last && b.first <= a.last;
                    let overlap = offsets[i] < offsets[j] + b.len && offsets[j] < offsets[i] + a.len;
                    prop_assert!(!(together && overlap), "{i} and {j}");
                }
            }
        }
    }
}
