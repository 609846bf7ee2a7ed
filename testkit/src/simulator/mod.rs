//! Clients, a syncer and edge nodes, without a network and with a clock of their own.

pub mod clients;
pub mod endpoints;
pub mod methods;
pub mod node;
pub mod packets;
pub mod random;
pub mod report;
pub mod run;
pub mod scenarios;
