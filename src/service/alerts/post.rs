//! One attempt to deliver a message as a mail.

use std::sync::{MutexGuard, PoisonError};

use super::{
    delivery::{Courier, DeliveryError, MOST_ANSWER},
    posted::Posted,
    receiver,
    secret_file::{self, unusable},
};
use crate::{
    alerts::{Mail, mail},
    config::{ChannelConfig, MailConfig, MailSecurity},
    messages::AlertMessage,
    model::one_line,
    smtp::{Envelope, ReplyJudgement, SmtpReply, SmtpServer, SmtpStage, send_mail},
    tls,
};

impl Courier {
    /// Sends a mail to each recipient who does not have it yet.
    pub(super) async fn post(
        &self,
        channel: &ChannelConfig,
        config: &MailConfig,
        message: &AlertMessage,
    ) -> Result<String, DeliveryError> {
        let failed = |error: &dyn std::fmt::Display| {
            DeliveryError::Failed(one_line(&error.to_string(), 2 * MOST_ANSWER))
        };
        let password = secret_file::read("password_file", config.password_file.as_deref());
        let password = password.map_err(DeliveryError::Failed)?;
        let tls = match config.security {
            MailSecurity::Clear => None,
            security => {
                let trusted = tls::client_config(channel.ca_file.as_deref());
                let trusted = trusted.map_err(|error| {
                    DeliveryError::Failed(unusable("ca_file", channel.ca_file.as_deref(), &error))
                })?;
                Some((trusted, security == MailSecurity::StartTls))
            }
        };
        let addresses = receiver::find(&*self.resolver, &channel.url, config.security.default_port()).await;
        let addresses = addresses.map_err(|error| failed(&error))?;
        let at = self.clock.is_synchronised().then(|| self.clock.wall());
        let is_explained = channel.templates.text.is_none();
        let content = mail(&Mail { message, channel: &channel.name, config, is_explained, at });
        let has = |recipient: &&str| self.posted().has(&channel.name, &message.key, recipient);
        let to: Vec<&str> =
            config.to.iter().map(String::as_str).filter(|recipient| !has(recipient)).collect();
        if to.is_empty() {
            return Ok("every recipient has it".to_owned());
        }
        let login = config.user.as_deref().zip(password.as_deref());
        let server = SmtpServer { addresses: &addresses, host: channel.url.host(), tls, login };
        let envelope = Envelope { from: &config.from, to: &to, content: &content };
        let accepted = send_mail(&server, envelope).await.map_err(|error| match error.is_refusal() {
            true => DeliveryError::Refused(error.to_string()),
            false => failed(&error),
        })?;
        let has_it = |recipient: &&str| !accepted.refused.iter().any(|(refused, _)| refused == recipient);
        let names = to.into_iter().filter(has_it).map(ToOwned::to_owned);
        self.posted().note(&channel.name, &message.key, names);
        judge_refusals(&accepted.refused).map_or(Ok(accepted.answer), Err)
    }

    fn posted(&self) -> MutexGuard<'_, Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Judges a delivery that the server has accepted for others but not for these recipients.
fn judge_refusals(refused: &[(String, SmtpReply)]) -> Option<DeliveryError> {
    let told: Vec<_> = refused.iter().map(|(recipient, reply)| format!("{recipient}: {reply}")).collect();
    let told = one_line(&format!("{}; the others have it", told.join("; ")), 2 * MOST_ANSWER);
    let later = |(_, reply): &(String, SmtpReply)| reply.judge(SmtpStage::Recipient) == ReplyJudgement::Later;
    match refused {
        [] => None,
        refused if refused.iter().any(later) => Some(DeliveryError::Failed(told)),
        _ => Some(DeliveryError::Refused(told)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(recipient: &str, code: u16) -> (String, SmtpReply) {
        (recipient.to_owned(), SmtpReply { code, lines: vec!["no".to_owned()] })
    }

    #[test]
    fn one_who_may_be_reached_later_makes_another_attempt_worthwhile() {
        assert_eq!(judge_refusals(&[]), None);
        let parked = DeliveryError::Refused("a@b.org: 550 no; the others have it".to_owned());
        assert_eq!(judge_refusals(&[refused("a@b.org", 550)]), Some(parked));
        let both = judge_refusals(&[refused("a@b.org", 550), refused("c@d.org", 452)]);
        assert!(matches!(both, Some(DeliveryError::Failed(_))));
    }
}
