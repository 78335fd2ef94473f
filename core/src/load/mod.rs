//! From disk to weights: folders, the hub cache, the embedded demo model. The only file I/O of the crate.
