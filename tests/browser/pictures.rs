//! Pictures of the page.
