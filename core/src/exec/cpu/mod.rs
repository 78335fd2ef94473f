//! The shipped CPU path: a static plan over one arena, packed weights, kernels chosen at run time.
