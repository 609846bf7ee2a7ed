//! What can be seen of a node: `/metrics` as Prometheus reads it, the same in `stats`, the dashboard and the alerts of
//! `conf/`, and that each metric is moved by something.

mod gone;
mod http;
mod memory_node;
mod moved;
mod prometheus;
mod running;
