//! Seeds to the fixed noise of every row.
