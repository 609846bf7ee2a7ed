//! A whole node over its socket, its command line and its metrics; nearly all without root.

mod commands;
mod consequences;
mod control;
mod documented;
mod metrics;
mod store;
mod subscribe;
mod syncer;
mod top;
