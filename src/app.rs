//! F5: the composition root.
