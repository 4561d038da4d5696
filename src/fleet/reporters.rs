//! Which of a site's connections is the one that reports. A card that was copied makes two appliances with one certificate
//! and one database: as long as neither sends a batch, both show the same pass, so only that both are connected at the
//! same time tells that they are two.

use std::time::Duration;

use crate::model::Moment;

/// A connection that was not heard for so long is gone: three signs of life.
const GONE: Duration = Duration::from_secs(60);

/// Messages of two connections within this time may have overtaken one another in the hub.
const OVERTAKEN: Duration = Duration::from_secs(1);

/// The connections of a site, each by what all of its messages have in common.
#[derive(Debug, Default)]
pub struct Reporters {
    /// The connection that reports, and when it was last heard.
    holder: Option<(String, Moment)>,
    /// Another one that was heard while the holder did not seem to be gone.
    rival: Option<Rival>,
}

#[derive(Debug)]
struct Rival {
    connection: String,
    since: Moment,
    /// Whether the holder was heard again. Until then the rival is taken for the same appliance, which has restarted.
    is_second: bool,
}

impl Reporters {
    /// Notes a message; returns whether it is one of a second appliance.
    pub fn is_second(&mut self, connection: &str, now: Moment) -> bool {
        match &mut self.holder {
            Some((holder, heard)) if holder.as_str() == connection => {
                *heard = now;
                if let Some(rival) = &mut self.rival {
                    rival.is_second |= now >= rival.since + OVERTAKEN;
                }
                false
            }
            Some((_, heard)) if now < *heard + GONE => match &self.rival {
                Some(rival) if rival.connection == connection => rival.is_second,
                _ => {
                    self.rival =
                        Some(Rival { connection: connection.to_owned(), since: now, is_second: false });
                    false
                }
            },
            _ => {
                (self.holder, self.rival) = (Some((connection.to_owned(), now)), None);
                false
            }
        }
    }

    /// A batch of this connection is committed: from now on the pass of any other one is old.
    pub fn note_commit(&mut self, connection: &str, now: Moment) {
        if self.holder.as_ref().is_some_and(|(holder, _)| holder != connection) {
            let former = self.holder.replace((connection.to_owned(), now));
            let rival = |(connection, _)| Rival { connection, since: now, is_second: false };
            self.rival = former.map(rival);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn an_appliance_that_restarts_is_no_second_one() {
        let mut reporters = Reporters::default();
        for (connection, seconds) in
            [("a", 0), ("a", 20), ("b", 25), ("b", 45), ("b", 90), ("c", 91), ("c", 300)]
        {
            assert!(!reporters.is_second(connection, at(seconds)), "{connection} {seconds}");
        }
        // The last message of the process before is handled after the first one of the next.
        let mut reporters = Reporters::default();
        for (connection, seconds) in [("a", 0), ("b", 10), ("a", 10), ("b", 30)] {
            assert!(!reporters.is_second(connection, at(seconds)), "{connection} {seconds}");
        }
    }

    #[test]
    fn the_one_that_connects_while_another_goes_on_reporting_is_second_until_that_is_gone() {
        let mut reporters = Reporters::default();
        let heard = [
            ("a", 0, false),
            ("b", 10, false),
            ("a", 20, false),
            ("b", 30, true),
            ("a", 40, false),
            ("b", 99, true),
        ];
        for (connection, seconds, is_second) in heard {
            assert_eq!(reporters.is_second(connection, at(seconds)), is_second, "{connection} {seconds}");
        }
        assert!(!reporters.is_second("b", at(100)));
        assert!(!reporters.is_second("a", at(101)));
        assert!(!reporters.is_second("b", at(110)));
        assert!(reporters.is_second("a", at(121)));
    }

    #[test]
    fn of_two_the_one_whose_batch_was_committed_goes_on() {
        let mut reporters = Reporters::default();
        assert!(!reporters.is_second("a", at(0)) && !reporters.is_second("b", at(1)));
        reporters.note_commit("b", at(1));
        assert!(!reporters.is_second("a", at(20)) && !reporters.is_second("b", at(21)));
        assert!(reporters.is_second("a", at(40)));
        reporters.note_commit("b", at(41));
        assert!(reporters.is_second("a", at(60)), "a further batch changes nothing");
    }
}
