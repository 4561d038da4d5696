//! portscan: what listens on my network, what changed, and is that all right?

pub mod app;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod engine;
pub mod feed;
pub mod http;
pub mod model;
pub mod net;
pub mod resolve;
pub mod service;
pub mod services;
pub mod store;
