//! One typed expression program over slots; CEL is its first spelling. No I/O.
