//! Makes a planned contact, if the intended device has the address and may be connected to.

use std::{collections::BTreeSet, future::ready, sync::Arc};

use super::{
    dialogue::identify_port,
    plan::{Contact, ContactOutcome},
};
use crate::{
    clock::Clock,
    config::Config,
    engine::{Passage, Reach},
    model::{Address, Device, DeviceKey, Mac, PortIdentification},
    net::{
        LinkWatch, Links, Solicited,
        dialogue::{NoConnection, touch},
        solicit,
    },
    service::{
        host_lease::HostLeases,
        retry::retry_kernel_read,
        witness::{Unsighted, Witness, identify, vouched},
    },
};

/// What a contact needs.
pub(super) struct Contacter {
    pub(super) watch: LinkWatch,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: Arc<Config>,
    pub(super) leases: HostLeases,
    /// Stations that answer for others: seeing the MAC of one does not identify the device behind it.
    pub(super) proxies: BTreeSet<Mac>,
}

/// A device that has the address, as far as can be told before the connection.
struct Sighted {
    passage: Passage,
    witness: Witness,
    expected: Option<Mac>,
    before: Option<Mac>,
}

impl Contacter {
    /// Makes a contact. Returns how it ended, and what was learned.
    pub(super) async fn make(&self, contact: &Contact) -> (ContactOutcome, Vec<PortIdentification>) {
        let address = &contact.port.address;
        let Some(_lease) = self.leases.try_dialogue(address) else {
            return (ContactOutcome::Busy, Vec::new());
        };
        let sighted = match self.sight(&contact.device, contact).await {
            Ok(sighted) => sighted,
            Err(ended) => return (ended, Vec::new()),
        };
        let port = contact.port.port;
        let learned = if contact.is_canary {
            touch(address, port).await.map(|()| Vec::new())
        } else {
            identify_port(address, port, contact.port.manner, self.clock.wall()).await
        };
        match learned {
            Ok(learned) if self.is_still_there(&sighted, contact) => (ContactOutcome::Replied, learned),
            Ok(_) => (ContactOutcome::Unknown, Vec::new()),
            // A port that has closed since.
            Err(NoConnection::Refused) => (ContactOutcome::Replied, Vec::new()),
            Err(NoConnection::Silent) if self.watch.holds(sighted.passage) => {
                (ContactOutcome::Silent, Vec::new())
            }
            Err(NoConnection::Silent) => (ContactOutcome::Unknown, Vec::new()),
            Err(NoConnection::Local(error)) => {
                tracing::debug!(%address, port, %error, "failed to connect to identify a port; retrying within an hour");
                (ContactOutcome::Unknown, Vec::new())
            }
        }
    }

    /// Determines which device has the address, before anything is sent there.
    async fn sight(&self, device: &DeviceKey, contact: &Contact) -> Result<Sighted, ContactOutcome> {
        let address = &contact.port.address;
        let Reach::Open(passage) = self.watch.reach(address, None) else {
            return Err(ContactOutcome::Unknown);
        };
        let links = retry_kernel_read(|| ready(Links::read())).await.map_err(|_| ContactOutcome::Unknown)?;
        links.check_host(address).map_err(|_| ContactOutcome::Unknown)?;
        let witness = Witness::of(&links, address);
        let named = Device { address: address.clone(), mac: device.mac(), name: None };
        let expected = witness.expected(&named).map_err(|_| ContactOutcome::Unknown)?;
        let before = match witness.first_sighted(&self.config, &links, address).await {
            Ok(before) => before,
            Err(Unsighted::Silent) if self.watch.holds(passage) => return Err(ContactOutcome::Silent),
            Err(_) => return Err(ContactOutcome::Unknown),
        };
        let before = match before {
            None if witness == Witness::Neighbours => self.solicited(&links, address, passage).await?,
            before => before,
        };
        let sighted = Sighted { passage, witness, expected, before };
        let found = Device { mac: before.or(expected), ..named };
        let permitted = self.config.identify_level(&found) >= contact.port.manner.level();
        if permitted && self.is(&sighted, before, address, device) {
            Ok(sighted)
        } else {
            Err(ContactOutcome::Unknown)
        }
    }

    /// Asks for the MAC at an address of which the kernel knows none, so that nothing is sent to a device that has taken
    /// the address since. `None` if this process may not ask.
    async fn solicited(
        &self,
        links: &Links,
        address: &Address,
        passage: Passage,
    ) -> Result<Option<Mac>, ContactOutcome> {
        match solicit(links, address).await {
            Ok(Solicited::Answered(mac)) => Ok(Some(mac)),
            Ok(Solicited::NotAllowed) => Ok(None),
            Ok(Solicited::Silent) if self.watch.holds(passage) => Err(ContactOutcome::Silent),
            Ok(Solicited::Silent) | Err(_) => Err(ContactOutcome::Unknown),
        }
    }

    /// Whether the device that was sighted has the address now, after the contact.
    fn is_still_there(&self, sighted: &Sighted, contact: &Contact) -> bool {
        let address = &contact.port.address;
        // A table that cannot be read proves nothing.
        let Ok(after) = sighted.witness.sighted(address) else { return false };
        self.is(sighted, after, address, &contact.device)
    }

    /// Whether a device is the one that a MAC at its address identifies.
    fn is(&self, sighted: &Sighted, after: Option<Mac>, address: &Address, device: &DeviceKey) -> bool {
        let Sighted { expected, before, .. } = sighted;
        let vouched = |seen| vouched(seen, &self.proxies);
        identify(*expected, vouched(*before), vouched(after))
            .is_ok_and(|mac| Device { address: address.clone(), mac, name: None }.key() == *device)
    }
}
