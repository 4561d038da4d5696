//! F2: lanscan feeds, parsed and checked.
