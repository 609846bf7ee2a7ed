//! What can be seen of a node: `/metrics` as Prometheus reads it, the same in `stats`, the dashboard and the alerts of
//! `conf/`, and that each metric is moved by something.

mod netns;

#[path = "metrics/gone.rs"]
mod gone;
#[path = "metrics/http.rs"]
mod http;
#[path = "metrics/memory_node.rs"]
mod memory_node;
#[path = "metrics/moved.rs"]
mod moved;
#[path = "metrics/prometheus.rs"]
mod prometheus;
#[path = "metrics/running.rs"]
mod running;
