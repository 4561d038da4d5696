//! Asks the questions of a plan about devices: the loop that all kinds of questions share.

use std::sync::Arc;

use tokio::{sync::watch, task::JoinSet};

use super::{
    feeds::Inventory,
    questions::{NextQuestion, Question, QuestionPlan, QuestionSource},
};
use crate::{config::Config, model::Moment};

/// One kind of questions about devices, with the handling of the answers.
pub(super) trait Inquirer: Send {
    /// The ways of asking.
    type Source: QuestionSource + Send + 'static;
    /// The outcome of a question.
    type Answer: Send + 'static;

    /// The present moment.
    fn now(&self) -> Moment;

    /// Gives the plan the devices that are present and the ways in which they may be asked.
    fn plan(&self, plan: &mut QuestionPlan<Self::Source>, config: &Config, inventory: &Inventory);

    /// Asks a question.
    fn ask(&self, question: &Question<Self::Source>) -> impl Future<Output = Self::Answer> + Send + 'static;

    /// Reports the outcome of a question to the plan, and keeps the findings for the next write.
    fn take(
        &mut self,
        plan: &mut QuestionPlan<Self::Source>,
        question: &Question<Self::Source>,
        answer: Self::Answer,
    );

    /// Writes what is due. Returns when the rest is.
    fn write(&mut self, plan: &QuestionPlan<Self::Source>) -> impl Future<Output = Option<Moment>> + Send;
}

/// Asks until the configuration's sender is gone.
pub(super) async fn inquire<I: Inquirer>(
    mut inquirer: I,
    mut config: watch::Receiver<Arc<Config>>,
    mut inventory: watch::Receiver<Inventory>,
) {
    let mut plan = QuestionPlan::default();
    let mut asking: JoinSet<(Question<I::Source>, I::Answer)> = JoinSet::new();
    let mut devices_changed = true;
    loop {
        if devices_changed {
            let config = Arc::clone(&config.borrow_and_update());
            inquirer.plan(&mut plan, &config, &inventory.borrow_and_update());
            devices_changed = false;
        }
        let ask_by = loop {
            match plan.next(inquirer.now()) {
                NextQuestion::Ask(question) => {
                    let asked = inquirer.ask(&question);
                    asking.spawn(async move { (question, asked.await) });
                }
                NextQuestion::Wait(until) => break Some(until),
                NextQuestion::Rest => break None,
            }
        };
        let write_by = inquirer.write(&plan).await;
        let now = inquirer.now();
        let wait = ask_by.into_iter().chain(write_by).min().map(|moment| now.until(moment));
        tokio::select! {
            changed = config.changed() => match changed {
                Ok(()) => devices_changed = true,
                // The appliance stops.
                Err(_) => return,
            },
            Ok(()) = inventory.changed() => devices_changed = true,
            Some(Ok((question, answer))) = asking.join_next() => inquirer.take(&mut plan, &question, answer),
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
    }
}
