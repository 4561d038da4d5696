//! All expectations of a database, as a stream.

use futures_util::Stream;

use super::pages::pages;
use crate::{
    model::Expectation,
    store::{Store, StoreError},
};

/// Returns all expectations, in the order in which they were written, a page at a time.
pub fn all_expectations(store: &Store) -> impl Stream<Item = Result<Vec<Expectation>, StoreError>> + use<> {
    let store = store.clone();
    pages(move |after| {
        let store = store.clone();
        async move { store.expectations(after).await }
    })
}
