//! Images of processors.

use super::filter::Size;
use crate::error::{Error, ErrorKind, Result};

/// An image, or a latent: rows of pixels, each with all its channels, `[height, width, channels]`.
///
/// Images have red, green and blue in 0..1; latents have the values of the autoencoder. Its memory is kept when it is
/// resized, so that a processor that writes the same image for every frame allocates nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Image {
    width: usize,
    height: usize,
    channels: usize,
    pixels: Vec<f32>,
}

impl Image {
    /// Creates an image of 0x0 pixels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an image of `width` x `height` pixels, each with `channels` elements of `pixels`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` unless `pixels` has `width * height * channels` elements.
    pub fn from_pixels(width: usize, height: usize, channels: usize, pixels: Vec<f32>) -> Result<Self> {
        let needed = width.checked_mul(height).and_then(|area| area.checked_mul(channels));
        if needed != Some(pixels.len()) {
            let text = format!("image of {width}x{height} with {channels} channels: got {} elements", pixels.len());
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        Ok(Self { width, height, channels, pixels })
    }

    /// Resizes it; its contents are then unspecified.
    pub fn resize(&mut self, width: usize, height: usize, channels: usize) {
        (self.width, self.height, self.channels) = (width, height, channels);
        self.pixels.resize(width * height * channels, 0.0);
    }

    /// Copies size and pixels of `other`.
    pub fn copy_from(&mut self, other: &Self) {
        self.resize(other.width, other.height, other.channels);
        self.pixels.copy_from_slice(&other.pixels);
    }

    /// Returns the width, in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the height, in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Returns the number of channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Returns its width, height and channels.
    pub(super) fn size(&self) -> Size {
        Size { width: self.width, height: self.height, channels: self.channels }
    }

    /// Returns true if `other` has the same width, height and channels.
    pub fn same_size(&self, other: &Self) -> bool {
        (self.width, self.height, self.channels) == (other.width, other.height, other.channels)
    }

    /// Returns all elements, row by row.
    pub fn pixels(&self) -> &[f32] {
        &self.pixels
    }

    /// Returns all elements for writing, row by row.
    pub fn pixels_mut(&mut self) -> &mut [f32] {
        &mut self.pixels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_number_of_pixels_is_rejected() {
        assert!(Image::from_pixels(2, 3, 3, vec![0.0; 18]).is_ok());
        for (width, height, len) in [(2, 3, 17), (usize::MAX, 2, 0)] {
            let refused = Image::from_pixels(width, height, 3, vec![0.0; len]).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        }
    }

    #[test]
    fn resizing_to_a_smaller_image_does_not_reallocate() {
        let mut image = Image::new();
        image.resize(64, 64, 3);
        let place = image.pixels().as_ptr();
        image.resize(8, 8, 3);
        image.resize(64, 64, 3);
        assert_eq!(image.pixels().as_ptr(), place);
    }
}
