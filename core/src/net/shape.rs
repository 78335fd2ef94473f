//! The shape of a value: rows of pixels (or tokens) of channels, channels last.

use std::fmt;

/// `n` rows of `h` x `w` pixels of `c` channels, channels innermost. Tokens are pixels with `w` 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The number of rows of the batch.
    pub n: usize,
    /// Height in pixels, or the number of tokens.
    pub h: usize,
    /// Width in pixels, 1 for tokens.
    pub w: usize,
    /// Channels.
    pub c: usize,
}

impl Shape {
    /// Creates the shape of a batch of images.
    pub const fn new(n: usize, h: usize, w: usize, c: usize) -> Self {
        Self { n, h, w, c }
    }

    /// Creates the shape of a batch of token sequences.
    pub const fn tokens(n: usize, tokens: usize, c: usize) -> Self {
        Self { n, h: tokens, w: 1, c }
    }

    /// Creates the shape of one vector per row.
    pub const fn vector(n: usize, c: usize) -> Self {
        Self { n, h: 1, w: 1, c }
    }

    /// Returns the number of pixels (or tokens) of one row of the batch.
    pub const fn pixels(self) -> usize {
        self.h * self.w
    }

    /// Returns the number of elements; `None` on an overflow.
    pub const fn checked_len(self) -> Option<usize> {
        let mut len = self.n;
        let sides = [self.h, self.w, self.c];
        let mut i = 0;
        while i < sides.len() {
            len = match len.checked_mul(sides[i]) {
                Some(len) => len,
                None => return None,
            };
            i += 1;
        }
        Some(len)
    }

    /// Returns the number of elements. Shapes of a program have been [checked](Self::checked_len).
    pub const fn len(self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// Returns whether it has no elements.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Returns the shape with `times` the height and width.
    pub const fn enlarged(self, times: usize) -> Self {
        Self { h: self.h * times, w: self.w * times, ..self }
    }

    /// Returns the shape with `c` channels.
    pub const fn with_c(self, c: usize) -> Self {
        Self { c, ..self }
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}, {}, {}]", self.n, self.h, self.w, self.c)
    }
}
