//! `portscan discover IFACE`: one sweep of the LAN, printed in lanscan's format.

use std::{io, time::Duration};

use clap::Args;
use ipnet::Ipv4Net;

use super::{CliError, CommandEnv, DONE, Terminal, progress::Bar, table::counted};
use crate::{
    config::Discover,
    doctor::ARP_GRANT,
    feed::FeedDocument,
    model::Moment,
    service::discovery::{Census, Made, Sweep, once},
};

const HELP: &str = "\
Sends ARP requests for every address of the interface's own IPv4 subnets, up to five to each, and
prints the devices that answered, this machine included, as lanscan does:
  {\"time\":{\"utc\":...},\"scan\":[{\"ipv4\":\"192.168.1.7\",\"mac\":\"b8:27:eb:ac:14:3e\"}],\"count\":1}
A /24 takes 6 seconds, a /20 42, a /16 eleven minutes: at most 500 questions a second. A subnet of
more than 1,024 addresses must be named, and 65,536 is the most.

ARP takes root, or CAP_NET_RAW: sudo setcap cap_net_raw+ep $(command -v portscan)
Without that, empty datagrams to port 9 make the kernel ask, which takes twice as long.

Examples:
  portscan discover eth0
  portscan discover eth0 10.0.0.0/20          only this part
  portscan discover eth0 | jq -r '.scan[].ipv4' | portscan scan -F -iL -

For `portscan serve` to do so every five minutes: discover = [\"eth0\"] under [feed].
Exit: 0 done, 1 failed, 2 wrong usage.";

/// The interface and the addresses to sweep.
#[derive(Args, Debug, Clone, PartialEq)]
#[command(after_help = HELP)]
pub struct DiscoverArgs {
    /// The interface of the LAN, such as eth0
    #[arg(value_name = "IFACE", value_parser = Discover::interface)]
    pub interface: String,
    /// Ask only this part of its subnets, such as 10.0.0.0/16
    #[arg(value_name = "NET", value_parser = Discover::net)]
    pub net: Option<Ipv4Net>,
}

/// Sweeps, prints, returns 0.
pub(super) async fn discover(
    args: &DiscoverArgs,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let discover = Discover { interface: args.interface.clone(), net: args.net };
    let bar = Bar::with(terminal.progress, 0, "{percent}%  {msg}", world.clock.now());
    let show = |sweep: &Sweep, now: Moment| {
        let (passed, lasts) = sweep.progress(now);
        bar.show_counts(
            millis(passed),
            millis(lasts),
            format!("{} found", counted(sweep.heard().len(), "device")),
        );
    };
    let made = once(&discover, ARP_GRANT, &*world.clock, show).await;
    bar.clear();
    let Made { swept, ended, preparation, sweeping } = made?;
    // One sweep alone cannot tell that a device is missing.
    let feed = Census::default().take(&swept, Duration::ZERO, world.clock.now())?;
    feed.remarks.iter().chain(&feed.rejected.reasons).for_each(|remark| terminal.warn(remark));
    let document = FeedDocument::new(&feed.devices, ended, preparation, sweeping);
    serde_json::to_writer(&mut *terminal.out, &document).map_err(io::Error::from)?;
    writeln!(terminal.out)?;
    terminal.out.flush()?;
    Ok(DONE)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
