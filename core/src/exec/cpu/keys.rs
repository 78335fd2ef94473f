//! Memory layout of the keys and values of attention.

#![allow(unsafe_code, reason = "hands addresses to micro-kernels")]

use dreamframe_kernels::{Kernels, Keys, key_panels};

use super::run::Run;
use super::span::{LINE, Span};
use crate::net::Shape;

/// Keys of a block: with their values they fit into the L2 cache while the queries of a piece use them.
/// A multiple of every group, so that groups of keys do not cross its end.
pub(super) const KEYS: usize = 256;

/// The layout of keys and values: row by row of the batch, then head by head, then keys and values as packed by
/// [`Keys`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyLayout {
    pub(super) rows: usize,
    pub(super) heads: usize,
    pub(super) keys: usize,
    /// Channels of a head of the keys.
    pub(super) width: usize,
    /// Channels of a head of the values.
    pub(super) value_width: usize,
    pub(super) lanes: usize,
    /// Elements in a row of a full panel.
    panel: usize,
    /// See [`Kernels::group`].
    pub(super) group: usize,
    /// Bytes per element.
    pub(super) size: usize,
}

impl KeyLayout {
    pub(super) fn new(k: Shape, v: Shape, heads: usize, kernels: &Kernels) -> Self {
        Self {
            rows: k.n,
            heads,
            keys: k.pixels(),
            width: k.c / heads,
            value_width: v.c / heads,
            lanes: kernels.lanes,
            panel: kernels.lanes * kernels.attend.len(),
            group: kernels.group,
            size: kernels.size,
        }
    }

    /// The layout of `tokens` tokens of `width` channels as keys of one head, without values.
    pub(super) fn of_tokens(rows: usize, tokens: usize, width: usize, kernels: &Kernels) -> Self {
        Self::new(Shape::new(rows, tokens, 1, width), Shape::new(rows, tokens, 1, 0), 1, kernels)
    }

    /// The layout of a single row.
    pub(super) fn of_row(self) -> Self {
        Self { rows: 1, ..self }
    }

    /// Total number of elements.
    pub(super) fn len(&self) -> usize {
        self.rows * self.heads * self.head_len()
    }

    pub(super) fn head_len(&self) -> usize {
        (self.keys_len() + self.grouped_keys() * self.padded_values()).next_multiple_of(LINE)
    }

    /// Elements of a head's keys.
    pub(super) fn keys_len(&self) -> usize {
        self.padded_keys() * self.width.next_multiple_of(self.group)
    }

    /// Keys for which a head's values have memory.
    pub(super) fn grouped_keys(&self) -> usize {
        self.keys.next_multiple_of(self.group)
    }

    pub(super) fn padded_keys(&self) -> usize {
        self.keys.next_multiple_of(self.lanes)
    }

    pub(super) fn padded_values(&self) -> usize {
        self.value_width.next_multiple_of(self.lanes)
    }

    /// The panels of `len` columns: first column, width.
    pub(super) fn panels(&self, len: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        key_panels(self.panel, len)
    }

    /// The address of a head in keys and values with this layout at `packed`.
    pub(super) fn head(&self, packed: *mut u8, row: usize, head: usize) -> *mut u8 {
        packed.wrapping_add((row * self.heads + head) * self.head_len() * self.size)
    }

    /// Copies the key `key` of the head at `head` to `to`.
    ///
    /// # Safety
    ///
    /// The head has this layout and such a key; `to` has memory for its channels; no thread writes either.
    pub(super) unsafe fn read_key(&self, head: *const u8, key: usize, to: *mut u8) {
        let wide = self.width.next_multiple_of(self.group);
        let first = key / self.panel * self.panel;
        let columns = self.panel.min(self.padded_keys() - first);
        let from = first * wide + (key - first) * self.group;
        for channel in 0..self.width {
            let (group, part) = (channel / self.group, channel % self.group);
            // SAFETY: see `Keys`; guaranteed by the caller.
            unsafe { self.copy_element(head, from + group * columns * self.group + part, to, channel) };
        }
    }

    /// Copies the value of `key` of the head at `head` to `to`.
    ///
    /// # Safety
    ///
    /// Like [`read_key`](Self::read_key).
    pub(super) unsafe fn read_value(&self, head: *const u8, key: usize, to: *mut u8) {
        for (first, columns) in self.panels(self.padded_values()) {
            let row = first * self.grouped_keys() + key / self.group * columns * self.group + key % self.group;
            for channel in first..(first + columns).min(self.value_width) {
                let from = self.keys_len() + row + (channel - first) * self.group;
                // SAFETY: see `Keys`; guaranteed by the caller.
                unsafe { self.copy_element(head, from, to, channel) };
            }
        }
    }

    /// Copies the element `index` of `from` to that at `place` of `to`.
    ///
    /// # Safety
    ///
    /// Both have these elements, which no thread writes.
    #[inline]
    unsafe fn copy_element(&self, from: *const u8, index: usize, to: *mut u8, place: usize) {
        // SAFETY: guaranteed by the caller; elements are aligned.
        unsafe {
            if self.size == size_of::<f32>() {
                *to.cast::<u32>().add(place) = *from.cast::<u32>().add(index);
            } else {
                *to.cast::<u16>().add(place) = *from.cast::<u16>().add(index);
            }
        }
    }

    /// Packs keys and values: for each head and row, a few keys at a time.
    pub(super) fn pack(&self, run: &Run<'_>, k: Span, v: Span, packed: Span) {
        // The keys of a block begin a panel, and its values a group.
        let blocks = self.keys.div_ceil(KEYS);
        run.pieces(self.rows * self.heads * blocks, &|piece, _| {
            let (row, head, block) = (piece / (self.heads * blocks), piece / blocks % self.heads, piece % blocks);
            let keys = block * KEYS..(block * KEYS + KEYS).min(self.keys);
            let block = Keys {
                k: k.channel(row * self.keys, head * self.width),
                k_ld: k.ld,
                width: self.width,
                v: v.channel(row * self.keys, head * self.value_width),
                v_ld: v.ld,
                value_width: self.value_width,
                keys,
                count: self.keys,
                lanes: self.lanes,
                panel: self.panel,
                to: self.head(packed.ptr(), row, head),
                keys_len: self.keys_len(),
            };
            // SAFETY: each piece has its own keys of a head of a row, the plan allocates `head_len` per head, and no thread
            // writes keys and values in this step.
            unsafe {
                if run.kernels.stores_f32() {
                    block.pack_f32();
                } else {
                    block.pack_bf16(self.group);
                }
            }
        });
    }
}

/// The offsets of what each layer keeps in the memory of a frame: keys and values, and injected tokens.
#[derive(Debug, Default)]
pub(super) struct KvCacheLayout {
    len: usize,
}

impl KvCacheLayout {
    /// Returns the offset of a further layer.
    pub(super) fn add(&mut self, layout: &KeyLayout) -> usize {
        let first = self.len;
        self.len += layout.len();
        first
    }

    /// Returns the offset of `elements` elements for other purposes.
    pub(super) fn reserve(&mut self, elements: usize) -> usize {
        let first = self.len;
        self.len += elements.next_multiple_of(LINE);
        first
    }

    /// Returns the bytes of a frame, with `size` bytes per element.
    pub(super) fn bytes(&self, size: usize) -> usize {
        self.len * size
    }
}
