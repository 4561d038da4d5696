//! The real binary, in networks of the tests' own.
