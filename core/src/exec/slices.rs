//! The inputs of a run, gathered without taking memory.

use crate::error::{Error, ErrorKind, Result};

/// Most inputs that a network has for each frame.
const MOST: usize = 192;

/// The inputs of a run, in order, gathered without taking memory.
#[derive(Debug)]
pub struct Slices<'a> {
    slices: [&'a [f32]; MOST],
    len: usize,
}

impl<'a> Slices<'a> {
    /// None yet.
    pub fn new() -> Self {
        Self { slices: [&[]; MOST], len: 0 }
    }

    /// Adds one.
    ///
    /// # Errors
    ///
    /// `Internal` for more than any network has.
    pub fn push(&mut self, slice: &'a [f32]) -> Result<()> {
        let place = self.slices.get_mut(self.len);
        let text = || Error::new(ErrorKind::Internal, format!("more than {MOST} inputs of a network"));
        *place.ok_or_else(text)? = slice;
        self.len += 1;
        Ok(())
    }

    /// All of them.
    pub fn get(&self) -> &[&'a [f32]] {
        &self.slices[..self.len]
    }
}

impl Default for Slices<'_> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_keep_their_order_and_too_many_are_refused() {
        let numbers = [1.0, 2.0, 3.0];
        let mut slices = Slices::new();
        slices.push(&numbers[..2]).unwrap();
        slices.push(&numbers[2..]).unwrap();
        assert_eq!(slices.get(), [&[1.0, 2.0][..], &[3.0]]);
        (2..MOST).for_each(|_| slices.push(&[]).unwrap());
        assert_eq!(slices.push(&[]).unwrap_err().kind(), ErrorKind::Internal);
    }
}
