//! Values that are watched, and of which only changes are news.

use tokio::sync::watch;

/// Replaces the value, and wakes those that watch it only if it is another one.
pub fn replace_if_new<T: PartialEq>(watched: &watch::Sender<T>, new: T) {
    watched.send_if_modified(|known| {
        let is_new = *known != new;
        *known = new;
        is_new
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_value_again_is_no_news() {
        let watched = watch::Sender::new(1);
        let mut seen = watched.subscribe();
        replace_if_new(&watched, 1);
        assert!(!seen.has_changed().unwrap());
        replace_if_new(&watched, 2);
        assert!(seen.has_changed().unwrap());
        assert_eq!(*seen.borrow_and_update(), 2);
    }
}
