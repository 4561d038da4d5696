//! The effective configuration as a file: what `check-config -v` prints, and what loads to the same again,
//! except for the keys that URLs may hold.

use std::{fmt, time::Duration};

use super::{ChannelKind, Config, HubAccess, MqttConfig, Targets};

/// A text as TOML writes it.
fn quoted(text: impl fmt::Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

fn list<T: fmt::Display>(members: &[T]) -> String {
    format!("[{}]", members.iter().map(quoted).collect::<Vec<_>>().join(", "))
}

/// In the largest unit that leaves no rest.
fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (unit, size) = [("d", 86_400), ("h", 3600), ("m", 60)]
        .into_iter()
        .find(|(_, size)| seconds.is_multiple_of(*size))
        .unwrap_or(("s", 1));
    format!("\"{}{unit}\"", seconds / size)
}

fn fmt_broker(broker: &MqttConfig, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    broker.user.as_ref().map_or(Ok(()), |user| writeln!(f, "user = {}", quoted(user)))?;
    if let Some(file) = &broker.password_file {
        writeln!(f, "password_file = {}", quoted(file.display()))?;
    }
    broker.version.map_or(Ok(()), |version| writeln!(f, "version = {}", quoted(version.as_str())))?;
    broker.topic.as_ref().map_or(Ok(()), |topic| writeln!(f, "topic = {}", quoted(topic)))?;
    writeln!(f, "discovery = {}", quoted(broker.discovery.as_deref().unwrap_or_default()))?;
    if broker.has_device_entities { writeln!(f, "entities = \"devices\"") } else { Ok(()) }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "listen = {}", list(&self.listen))?;
        writeln!(f, "data_dir = {}", quoted(self.data_dir.display()))?;
        writeln!(f, "base_url = {}", quoted(&self.base_url))?;
        writeln!(f, "log = {}", quoted(self.log))?;
        writeln!(f, "exclude = {}", list(&self.exclude))?;
        writeln!(f, "max_in_flight = {}", self.max_in_flight)?;
        writeln!(f, "cache_expiry = {}", duration(self.cache_expiry))?;
        writeln!(f, "forget = {}", duration(self.forget))?;
        if let Some(spool) = &self.spool {
            writeln!(f, "spool = {}", quoted(spool.display()))?;
        }
        writeln!(f, "keep = {}", duration(self.keep))?;
        writeln!(f, "\n[feed]\nurl = {}", list(&self.feed.urls))?;
        writeln!(f, "discover = {}\nipv6 = {}", list(&self.feed.discover), self.feed.has_ipv6)?;
        writeln!(f, "grace = {}", duration(self.feed.grace))?;
        writeln!(f, "max_devices = {}\nmax_newcomers = {}", self.feed.max_devices, self.feed.max_newcomers)?;
        writeln!(f, "allow = {}", list(&self.feed.allow))?;
        writeln!(f, "hosts = [")?;
        for host in &self.feed.hosts {
            write!(f, "  {{ address = {}", quoted(&host.address))?;
            host.mac.map_or(Ok(()), |mac| write!(f, ", mac = {}", quoted(mac)))?;
            host.name.as_ref().map_or(Ok(()), |name| write!(f, ", name = {}", quoted(name)))?;
            writeln!(f, " }},")?;
        }
        writeln!(f, "]\n\n[mdns]\nenabled = {}\nname = {}", self.mdns.enabled, quoted(&self.mdns.name))?;
        writeln!(f, "\n[names]\ndns = {}\nmdns = {}", self.names.dns, self.names.mdns)?;
        writeln!(f, "\n[identify]\nlevel = {}", quoted(self.identify))?;
        writeln!(f, "\n[http]\nnames = {}", list(&self.http_names))?;
        if let Some(probe) = &self.http_probe {
            writeln!(f, "probe = {}", list(probe))?;
        }
        writeln!(f, "\n[auth]\ntrust = {}", list(&self.auth_trust))?;
        if let Some(file) = &self.auth_token_file {
            writeln!(f, "token_file = {}", quoted(file.display()))?;
        }
        if let Some(fleet) = &self.fleet {
            writeln!(f, "\n[fleet]\nsite = {}", quoted(&fleet.site))?;
            fmt_access(f, &fleet.access)?;
        }
        if let Some(worker) = &self.worker {
            writeln!(f, "\n[worker]\nname = {}", quoted(&worker.name))?;
            fmt_access(f, &worker.access)?;
            writeln!(f, "networks = {}", list(&worker.networks))?;
        }
        self.fmt_rules(f)
    }
}

fn fmt_access(f: &mut fmt::Formatter<'_>, access: &HubAccess) -> fmt::Result {
    writeln!(f, "hub = {}", quoted(&access.hub))?;
    writeln!(f, "credentials_dir = {}", quoted(access.credentials_dir.display()))
}

impl Config {
    fn fmt_rules(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for scanner in &self.scanners {
            writeln!(f, "\n[[scanner]]\nname = {}", quoted(&scanner.name))?;
            writeln!(f, "interval = {}", duration(scanner.interval))?;
            if let Some(at) = scanner.at {
                writeln!(f, "at = {}", quoted(at.strftime("%H:%M:%S")))?;
            }
            match &scanner.targets {
                Targets::Feed => writeln!(f, "targets = \"feed\"")?,
                Targets::List(targets) => writeln!(f, "targets = {}", list(targets))?,
            }
            writeln!(f, "ports = {}\ntiming = {}", quoted(&scanner.ports), quoted(scanner.timing))?;
            writeln!(f, "method = {}", quoted(scanner.method))?;
        }
        for rule in &self.devices {
            writeln!(f, "\n[[device]]\nmatch = {}\nscan = {}", quoted(&rule.matches), rule.scan)?;
            rule.name.as_ref().map_or(Ok(()), |name| writeln!(f, "name = {}", quoted(name)))?;
            rule.timing.map_or(Ok(()), |timing| writeln!(f, "timing = {}", quoted(timing)))?;
            rule.ports.as_ref().map_or(Ok(()), |ports| writeln!(f, "ports = {}", quoted(ports)))?;
            rule.identify.map_or(Ok(()), |level| writeln!(f, "identify = {}", quoted(level)))?;
            rule.device_type.map_or(Ok(()), |kind| writeln!(f, "type = {}", quoted(kind)))?;
            if !rule.tags.is_empty() {
                writeln!(f, "tags = {}", list(&rule.tags))?;
            }
        }
        for rule in &self.ignore {
            let device = rule.device.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string);
            writeln!(f, "\n[[ignore]]\ndevice = {}\nports = {}", quoted(device), quoted(&rule.ports))?;
            writeln!(f, "comment = {}", quoted(&rule.comment))?;
        }
        self.fmt_alerts(f)
    }

    fn fmt_alerts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for channel in &self.channels {
            writeln!(
                f,
                "\n[[channel]]\nname = {}\ntype = {}",
                quoted(&channel.name),
                quoted(channel.kind.as_str())
            )?;
            writeln!(f, "url = {}", quoted(&channel.url))?;
            match &channel.kind {
                ChannelKind::Ntfy => {}
                ChannelKind::Webhook { shape } => writeln!(f, "shape = {}", quoted(shape.as_str()))?,
                ChannelKind::Syslog { format } => writeln!(f, "format = {}", quoted(format.as_str()))?,
                ChannelKind::Email(mail) => {
                    writeln!(f, "from = {}\nto = {}", quoted(&mail.from), list(&mail.to))?;
                    mail.user.as_ref().map_or(Ok(()), |user| writeln!(f, "user = {}", quoted(user)))?;
                    if let Some(file) = &mail.password_file {
                        writeln!(f, "password_file = {}", quoted(file.display()))?;
                    }
                }
                ChannelKind::Mqtt(broker) => fmt_broker(broker, f)?,
            }
            if let Some(file) = &channel.token_file {
                writeln!(f, "token_file = {}", quoted(file.display()))?;
            }
            if let Some(file) = &channel.sign_file {
                writeln!(f, "sign_file = {}", quoted(file.display()))?;
            }
            if let Some(file) = &channel.ca_file {
                writeln!(f, "ca_file = {}", quoted(file.display()))?;
            }
            for (key, template) in [("title", &channel.templates.title), ("text", &channel.templates.text)] {
                template.as_ref().map_or(Ok(()), |text| writeln!(f, "{key} = {}", quoted(text)))?;
            }
            writeln!(f, "group = {}\nburst = {}", duration(channel.group), channel.burst)?;
            channel.quiet.map_or(Ok(()), |quiet| writeln!(f, "quiet = {}", quoted(quiet)))?;
            channel.summary.map_or(Ok(()), |summary| writeln!(f, "summary = {}", quoted(summary)))?;
        }
        for rule in &self.alerts {
            writeln!(f, "\n[[alert]]\nevents = {}", list(&rule.events))?;
            if !rule.devices.is_empty() {
                writeln!(f, "devices = {}", list(&rule.devices))?;
            }
            if !rule.channels.is_empty() {
                writeln!(f, "channels = {}", list(&rule.channels))?;
            }
            rule.severity.map_or(Ok(()), |severity| writeln!(f, "severity = {}", quoted(severity)))?;
        }
        Ok(())
    }
}
