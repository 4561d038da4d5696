//! Decides which batches of a site a hub applies: each once, in their order, and those of one database alone.
//!
//! The hub gives a random pass with each batch that it commits, and stores it in the same transaction. The next batch
//! must show it. So a batch that arrives twice is not applied twice, and of two appliances with a copy of the same
//! database the second one to report is refused: its pass is old.
//!
//! An answer may be lost, and then the site shows the pass before. That is the same for a copy; so it is accepted only as
//! long as no other appliance has continued, and at most one batch behind.

use super::{Batch, Pass, SiteGreeting};

/// What the hub has committed of a site. It is stored in the site's database at the hub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Succession {
    /// The database, and the passes; `None`: nothing is committed.
    pub standing: Option<Standing>,
}

/// A database of which batches are committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The database.
    pub epoch: Pass,
    /// The pass that was given with the last batch.
    pub pass: Pass,
    /// The pass that the last batch showed; `None`: it was the first.
    pub before: Option<Pass>,
    /// Whether a whole copy was begun and has not ended.
    pub is_partial: bool,
    /// Whether the copy has arrived in another form than batches have now: site or hub was upgraded since, and the copy
    /// may lack what only the newer one knows.
    pub is_outdated: bool,
}

/// The decision about a greeting or a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuccessionVerdict {
    /// It continues what is committed; the next batch shows this pass.
    Continues(Pass),
    /// Nothing is committed, or nothing that could be continued: the site sends all of its data.
    StartsAnew,
    /// A batch that continues something, and there is nothing that it could continue: the copy was removed, or is outdated.
    NothingHere,
    /// The site has another database than the one whose data is here.
    OtherDatabase,
    /// Another appliance, with a copy of the same database, has reported since.
    Forked,
}

impl Succession {
    /// Decides on a greeting.
    pub fn greet(&self, greeting: &SiteGreeting) -> SuccessionVerdict {
        match self.standing {
            None => SuccessionVerdict::StartsAnew,
            Some(standing) if standing.epoch != greeting.epoch => SuccessionVerdict::OtherDatabase,
            // It begins again rather than continue what it does not know to be there.
            Some(standing) if standing.may_start_anew() && greeting.pass.is_none() => {
                SuccessionVerdict::StartsAnew
            }
            Some(standing) if !is_known(&standing, greeting.pass) => SuccessionVerdict::Forked,
            Some(standing) if standing.is_outdated => SuccessionVerdict::StartsAnew,
            Some(standing) => SuccessionVerdict::Continues(standing.pass),
        }
    }

    /// Decides on a batch.
    pub fn judge(&self, batch: &Batch) -> SuccessionVerdict {
        match self.standing {
            None if batch.replaces_all && batch.pass.is_none() => SuccessionVerdict::StartsAnew,
            None => SuccessionVerdict::NothingHere,
            Some(standing) if standing.epoch != batch.epoch => SuccessionVerdict::OtherDatabase,
            Some(standing) if standing.may_start_anew() && batch.replaces_all && batch.pass.is_none() => {
                SuccessionVerdict::StartsAnew
            }
            Some(standing) if standing.is_outdated => SuccessionVerdict::NothingHere,
            Some(standing) if batch.pass == Some(standing.pass) => {
                SuccessionVerdict::Continues(standing.pass)
            }
            Some(_) => SuccessionVerdict::Forked,
        }
    }
}

impl Standing {
    /// Whether a site that knows of no batch may send all of its data in place of what is committed.
    fn may_start_anew(&self) -> bool {
        self.is_partial || self.is_outdated
    }
}

/// Whether a site that shows this pass has sent the last batch, with or without having got its answer.
fn is_known(standing: &Standing, shown: Option<Pass>) -> bool {
    shown == Some(standing.pass) || shown == standing.before
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Pass = [1; 16];

    fn standing(pass: u8, before: Option<u8>) -> Succession {
        let before = before.map(|before| [before; 16]);
        Succession {
            standing: Some(Standing {
                epoch: EPOCH,
                pass: [pass; 16],
                before,
                is_partial: false,
                is_outdated: false,
            }),
        }
    }

    fn greeting(epoch: Pass, pass: Option<u8>) -> SiteGreeting {
        let pass = pass.map(|pass| [pass; 16]);
        let (version, host, tables) = (String::new(), String::new(), Vec::new());
        SiteGreeting { epoch, schema: 12, understood_since: 12, tables, pass, version, host }
    }

    fn batch(pass: Option<u8>, replaces_all: bool) -> Batch {
        let pass = pass.map(|pass| [pass; 16]);
        Batch { epoch: EPOCH, pass, replaces_all, is_last: true, rows: Vec::new() }
    }

    #[test]
    fn a_site_continues_after_its_last_batch_whether_or_not_it_got_the_answer() {
        let here = standing(9, Some(8));
        assert_eq!(here.greet(&greeting(EPOCH, Some(9))), SuccessionVerdict::Continues([9; 16]));
        assert_eq!(here.greet(&greeting(EPOCH, Some(8))), SuccessionVerdict::Continues([9; 16]));
        assert_eq!(here.judge(&batch(Some(9), false)), SuccessionVerdict::Continues([9; 16]));
    }

    #[test]
    fn a_batch_that_arrives_twice_is_applied_once() {
        let before = standing(8, Some(7));
        let sent = batch(Some(8), false);
        assert_eq!(before.judge(&sent), SuccessionVerdict::Continues([8; 16]));
        assert_eq!(standing(9, Some(8)).judge(&sent), SuccessionVerdict::Forked);
    }

    #[test]
    fn a_copied_card_is_refused_once_either_has_gone_on() {
        let here = standing(9, Some(8));
        assert_eq!(here.greet(&greeting(EPOCH, Some(7))), SuccessionVerdict::Forked);
        assert_eq!(here.greet(&greeting(EPOCH, None)), SuccessionVerdict::Forked);
    }

    #[test]
    fn another_database_never_replaces_the_data_unasked() {
        assert_eq!(standing(9, Some(8)).greet(&greeting([2; 16], None)), SuccessionVerdict::OtherDatabase);
        assert_eq!(Succession::default().greet(&greeting([2; 16], None)), SuccessionVerdict::StartsAnew);
    }

    #[test]
    fn a_site_whose_copy_is_gone_is_no_copied_card() {
        assert_eq!(Succession::default().judge(&batch(Some(9), false)), SuccessionVerdict::NothingHere);
        assert_eq!(Succession::default().judge(&batch(None, true)), SuccessionVerdict::StartsAnew);
    }

    #[test]
    fn a_copy_that_an_upgrade_has_outdated_is_sent_again_by_its_own_site() {
        let mut here = standing(9, Some(8));
        here.standing.as_mut().unwrap().is_outdated = true;
        for known in [Some(9), Some(8), None] {
            assert_eq!(here.greet(&greeting(EPOCH, known)), SuccessionVerdict::StartsAnew);
        }
        assert_eq!(here.judge(&batch(None, true)), SuccessionVerdict::StartsAnew);
        assert_eq!(here.judge(&batch(Some(9), false)), SuccessionVerdict::NothingHere);
        assert_eq!(here.greet(&greeting(EPOCH, Some(7))), SuccessionVerdict::Forked);
        assert_eq!(here.greet(&greeting([2; 16], None)), SuccessionVerdict::OtherDatabase);
    }

    #[test]
    fn a_whole_copy_that_was_cut_begins_again() {
        let mut here = standing(9, None);
        here.standing.as_mut().unwrap().is_partial = true;
        assert_eq!(here.greet(&greeting(EPOCH, None)), SuccessionVerdict::StartsAnew);
        assert_eq!(here.judge(&batch(None, true)), SuccessionVerdict::StartsAnew);
        assert_eq!(standing(9, None).judge(&batch(None, true)), SuccessionVerdict::Forked);
    }
}
