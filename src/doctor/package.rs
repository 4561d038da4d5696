//! What the package installs, by its paths.

/// The paths at which the service's unit may be installed, by the distribution's choice.
pub const UNITS: [&str; 3] = [
    "/usr/lib/systemd/system/portscan.service",
    "/lib/systemd/system/portscan.service",
    "/etc/systemd/system/portscan.service",
];

/// The command that permits an installed appliance to use ARP.
pub const ARP_GRANT: &str = "sudo install -D -m 644 -t /etc/systemd/system/portscan.service.d \
     /usr/share/portscan/ask-by-arp.conf && sudo systemctl daemon-reload && sudo systemctl restart portscan; without \
     the package: sudo setcap cap_net_raw+ep /usr/bin/portscan (whichever binary runs)";
