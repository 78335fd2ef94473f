//! Keys and values of attention in the layout of the kernels.

use std::ops::Range;

use crate::numbers::Number;

/// Some keys of a head with their values, and the destination of the whole head.
///
/// Keys lie in panels (`[panel][channel][key]`), then values in panels (`[panel][key][channel]`); the last panel of each
/// is narrow. If kernels multiply groups, the first index counts groups, whose members are adjacent in the last index.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The first key's channels of the head, stored elements.
    pub k: *const u8,
    /// Elements between keys.
    pub k_ld: usize,
    /// Channels of a key.
    pub width: usize,
    /// The first value's channels of the head.
    pub v: *const u8,
    /// Elements between values.
    pub v_ld: usize,
    /// Channels of a value.
    pub value_width: usize,
    /// Number of keys to pack. They begin a panel of keys, and a group.
    pub keys: Range<usize>,
    /// Keys of the head.
    pub count: usize,
    /// Elements in a vector.
    pub lanes: usize,
    /// Elements in a row of a full panel.
    pub panel: usize,
    /// The destination of the head's keys and values.
    pub to: *mut u8,
    /// Elements of the head's keys, which its values follow.
    pub keys_len: usize,
}

/// The panels of `len` columns, each at most `panel` wide: first column, width.
pub fn key_panels(panel: usize, len: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..len).step_by(panel).map(move |first| (first, panel.min(len - first)))
}

impl Keys {
    /// Packs 32-bit elements.
    ///
    /// # Safety
    ///
    /// No thread writes the keys and values meanwhile, and no other accesses the destination of these keys. The pointers
    /// reach as far as the fields say, and are aligned for their elements.
    pub unsafe fn pack_f32(&self) {
        // SAFETY: guaranteed by the caller.
        unsafe { self.pack::<f32, 1>() }
    }

    /// Packs 16-bit elements, which are multiplied in groups of two or four.
    ///
    /// # Safety
    ///
    /// Like [`pack_f32`](Self::pack_f32).
    pub unsafe fn pack_bf16(&self, group: usize) {
        // SAFETY: guaranteed by the caller.
        unsafe { if group == 4 { self.pack::<u16, 4>() } else { self.pack::<u16, 2>() } }
    }

    unsafe fn pack<T: Number, const GROUP: usize>(&self) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            self.pack_keys::<T, GROUP>();
            self.pack_values::<T, GROUP>();
        }
    }

    unsafe fn key<T>(&self, key: usize) -> &[T] {
        // SAFETY: a key has `width` channels; by guaranteed by the caller, no thread writes them.
        unsafe { std::slice::from_raw_parts(self.k.cast::<T>().wrapping_add(key * self.k_ld), self.width) }
    }

    /// Returns a value's channels; `None` past the last.
    unsafe fn value<T>(&self, key: usize) -> &[T] {
        if key >= self.keys.end {
            return &[];
        }
        // SAFETY: as in `key`.
        unsafe { std::slice::from_raw_parts(self.v.cast::<T>().wrapping_add(key * self.v_ld), self.value_width) }
    }

    unsafe fn pack_keys<T: Number, const GROUP: usize>(&self) {
        let (groups, keys) = (self.width.div_ceil(GROUP), self.to.cast::<[T; GROUP]>());
        let padded = self.keys.end.next_multiple_of(self.lanes);
        let all = key_panels(self.panel, self.count.next_multiple_of(self.lanes));
        for (first, wide) in all.filter(|(first, _)| self.keys.contains(first)) {
            for key in first..(first + wide).min(padded) {
                // SAFETY: guaranteed by the caller.
                let channels = if key < self.keys.end { unsafe { self.key::<T>(key) } } else { &[] };
                let (whole, rest) = channels.as_chunks::<GROUP>();
                let part = std::array::from_fn(|i| rest.get(i).copied().unwrap_or_default());
                let padding = std::iter::repeat_n(&part, groups - whole.len());
                for (group, &some) in whole.iter().chain(padding).enumerate() {
                    // SAFETY: a panel has `groups` rows of `wide` groups, after those of the panels before it.
                    unsafe { *keys.add(first * groups + group * wide + key - first) = some };
                }
            }
        }
    }

    unsafe fn pack_values<T: Number, const GROUP: usize>(&self) {
        let values = self.to.cast::<T>().wrapping_add(self.keys_len).cast::<[T; GROUP]>();
        let rows = self.count.div_ceil(GROUP);
        for (first, wide) in key_panels(self.panel, self.value_width.next_multiple_of(self.lanes)) {
            for key in self.keys.clone().step_by(GROUP) {
                // SAFETY: guaranteed by the caller.
                let lines: [&[T]; GROUP] = std::array::from_fn(|i| unsafe { self.value(key + i) });
                let lines = lines.map(|line| line.get(first..).unwrap_or_default());
                // SAFETY: a panel has a row of `wide` groups for each group of keys, after those of the panels before.
                let to = unsafe {
                    let at = values.add(first * rows + key / GROUP * wide);
                    std::slice::from_raw_parts_mut(at, wide)
                };
                let shortest = lines.iter().map(|line| line.len()).min().unwrap_or(0).min(wide);
                let (whole, rest) = to.split_at_mut(shortest);
                let full = lines.map(|line| &line[..shortest]);
                for (channel, group) in whole.iter_mut().enumerate() {
                    *group = std::array::from_fn(|i| full[i][channel]);
                }
                for (channel, group) in rest.iter_mut().enumerate() {
                    *group = std::array::from_fn(|i| lines[i].get(shortest + channel).copied().unwrap_or_default());
                }
            }
        }
    }
}
