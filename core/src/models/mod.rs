//! Networks: a checkpoint config in, a program out; one file per network.
