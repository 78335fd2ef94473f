//! Pixels in memory: frames that come in, pictures that go out. No tensors here.
