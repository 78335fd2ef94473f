//! Mixing embeddings: linear, slerp, weight normalisation.
