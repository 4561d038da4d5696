//! The environment layer: the variables of the original, with the original's meaning.

use std::net::SocketAddr;

use super::{Config, Fault, Place, parse};

/// The port's variables, of which the first that is set counts: the port that Docker publishes before its target.
const PORTS: [&str; 4] =
    ["MY_REST_API_HOST_PORT", "MY_REST_API_CONTAINER_PORT", "MY_REST_API_PORT", "MY_CONTAINER_BIND_PORT"];

/// Where variables come from: the process, or a test.
pub(super) struct Environment<'a> {
    pub(super) lookup: &'a dyn Fn(&str) -> Option<String>,
    pub(super) faults: Vec<Fault>,
}

impl Environment<'_> {
    /// A variable's value; empty counts as unset, which is how compose files leave one out.
    fn read<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let value = (self.lookup)(name)?;
        let value = value.trim();
        if value.is_empty() {
            return None;
        }
        let fault = |text| self.faults.push(Fault { place: Place::Variable(name), text });
        parse(value).map_err(fault).ok()
    }

    /// Applies the environment to a configuration.
    pub(super) fn apply(&mut self, config: &mut Config) {
        if let Some(base_url) = self.read("MY_REST_API_BASE_URL", parse::base_url) {
            config.base_url = base_url;
        }
        if let Some(bound) = self.read("MY_NUM_THREADS", parse::max_in_flight) {
            config.max_in_flight = bound;
        }
        if let Some(data_dir) = self.read("MY_CACHE_DIRECTORY", parse::path) {
            config.data_dir = data_dir;
        }
        // It replaces every source of the file's, as it says "this is the feed"; `allow` is a permission and
        // stays.
        if let Some(url) = self.read("MY_LANSCAN_URL", parse::feed_url) {
            config.feed.urls = vec![url];
            config.feed.discover.clear();
            config.feed.hosts.clear();
        }
        self.listen(config);
    }

    /// The address replaces all addresses and keeps the first one's port; the port replaces every port.
    fn listen(&mut self, config: &mut Config) {
        if let Some(ip) = self.read("MY_REST_API_HOST_ADDRESS", parse::listen_address) {
            let port = config.listen.first().map_or(80, SocketAddr::port);
            config.listen = vec![SocketAddr::new(ip, port)];
        }
        let set = |name: &&&'static str| (self.lookup)(name).is_some_and(|value| !value.trim().is_empty());
        let Some(name) = PORTS.iter().find(set) else { return };
        if let Some(port) = self.read(name, parse::listen_port) {
            let mut listen: Vec<SocketAddr> = Vec::with_capacity(config.listen.len());
            for address in config.listen.iter().map(|address| SocketAddr::new(address.ip(), port)) {
                if !listen.contains(&address) {
                    listen.push(address);
                }
            }
            if let Some(text) = parse::listen_conflict(&listen) {
                self.faults.push(Fault { place: Place::Variable(name), text });
            }
            config.listen = listen;
        }
    }
}
