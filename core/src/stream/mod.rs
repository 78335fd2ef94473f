//! The heart: rows of a frame pipeline in one UNet batch. No weights, no device, no clock.
