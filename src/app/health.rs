//! One word on how the appliance is, from all that could be wrong.

use tokio::sync::watch;

use crate::{
    net::mdns::Advertised,
    service::{feeds::Inventory, health::Health},
    store::StoreHealth,
};

/// Keeps the health up to date until all sources are gone.
pub(super) async fn watch(
    mut store: watch::Receiver<StoreHealth>,
    mut inventory: watch::Receiver<Inventory>,
    mut advertised: watch::Receiver<Advertised>,
    health: watch::Sender<Health>,
) {
    loop {
        let notice = advertised.borrow_and_update().notice.clone();
        health.send_replace(sum_up(&store.borrow_and_update(), &inventory.borrow_and_update(), notice));
        tokio::select! {
            Ok(()) = store.changed() => {}
            Ok(()) = inventory.changed() => {}
            Ok(()) = advertised.changed() => {}
            else => return,
        }
    }
}

/// A feed that is down is worth a notice, and what became of our name.
fn sum_up(store: &StoreHealth, inventory: &Inventory, name: Option<String>) -> Health {
    let down = inventory.sources.iter().filter(|source| !source.up);
    let feeds = down.map(|source| format!("feed {}: {}", source.name, source.detail));
    Health::new(store, feeds.chain(name).collect())
}
