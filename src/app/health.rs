//! One word on how the appliance is, from all that could be wrong.

use tokio::sync::watch;

use crate::{
    service::{feeds::Inventory, health::Health},
    store::StoreHealth,
};

/// Keeps the health up to date until both sources are gone.
pub(super) async fn watch(
    mut store: watch::Receiver<StoreHealth>,
    mut inventory: watch::Receiver<Inventory>,
    health: watch::Sender<Health>,
) {
    loop {
        health.send_replace(sum_up(&store.borrow_and_update(), &inventory.borrow_and_update()));
        tokio::select! {
            Ok(()) = store.changed() => {}
            Ok(()) = inventory.changed() => {}
            else => return,
        }
    }
}

/// Only a feed that is down is worth a notice.
fn sum_up(store: &StoreHealth, inventory: &Inventory) -> Health {
    let down = inventory.sources.iter().filter(|source| !source.up);
    Health::new(store, down.map(|source| format!("feed {}: {}", source.name, source.detail)).collect())
}
