//! Tests of the real binary, each in its own network namespaces.

#![allow(unreachable_pub, reason = "an integration crate is a root: nothing in it is reachable")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail the test")]
#![allow(clippy::print_stderr, reason = "a failing test shows the binary's log")]

use testkit::{harness, lab};

mod alone;
mod announcements;
mod api;
mod appliance;
mod browser;
mod cable;
mod changes;
mod commands;
mod container;
mod corpus;
mod crash;
mod damage;
mod dashboard;
mod delivery;
mod discovery;
mod disk;
mod docs;
mod doctor;
mod exclusion;
mod expected;
mod explain;
mod fairness;
mod feeds;
mod first_minute;
mod fleet;
mod fleet_keys;
mod history;
mod identify;
mod identify_cost;
mod identity;
mod imports;
mod invented;
mod ipv6;
mod layers;
mod limits;
mod live_view;
mod manager;
mod mdns;
mod metrics;
mod monitoring;
mod names;
mod nmap;
mod owners;
mod packaging;
mod pi;
mod politeness;
mod reports;
mod selftest;
mod senders;
mod servers;
mod siege;
mod syn;
mod targets;
mod truth;
mod udp;
