//! A whole node over its socket, its command line and its metrics; nearly all without root.

mod commands;
mod consequences;
mod control;
mod documented;
mod left_out;
mod metrics;
mod parameters;
mod store;
mod subscribe;
mod syncer;
mod top;
