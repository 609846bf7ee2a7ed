//! Reads the counters that `pointsman stats --json` prints.

use std::collections::BTreeMap;

use serde_json::Value;

/// One look at all counters: by the metric's name, nested by labels.
pub struct Metrics(Value);

impl Metrics {
    /// Takes the object as it was printed.
    pub fn new(stats: Value) -> Self {
        Self(stats)
    }

    /// The sum of a counter over all its labels; panics where there is no such counter.
    pub fn sum(&self, name: &str) -> u64 {
        total(self.counter(name))
    }

    /// The sum of what a counter has under one label, such as a service's name.
    pub fn sum_of(&self, name: &str, label: &str) -> u64 {
        total(&self.counter(name)[label])
    }

    /// The values of a counter with one label, such as a worker's number.
    pub fn each(&self, name: &str) -> Vec<u64> {
        self.counter(name).as_object().expect("it has a label").values().map(total).collect()
    }

    /// A counter's values above 0 by its label, such as drops by their reason.
    pub fn by_label(&self, name: &str) -> BTreeMap<String, u64> {
        above_zero(self.counter(name))
    }

    /// The same for the second label under a first, such as packets by endpoint under a service.
    pub fn by_label_of(&self, name: &str, label: &str) -> BTreeMap<String, u64> {
        above_zero(&self.counter(name)[label])
    }

    fn counter(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or_else(|| panic!("stats has no {name}: {}", self.0))
    }

    /// How many values a summary by one label has seen.
    pub fn count(&self, name: &str) -> u64 {
        let by_label = self.counter(name).as_object().expect("it has a label").values();
        by_label.map(|summary| summary["count"].as_u64().expect("a number")).sum()
    }

    /// Holds the promise that every received packet was sent, answered, or dropped for a counted reason.
    pub fn assert_balanced(&self) {
        let received = self.sum("pointsman_received_packets_total");
        let sent = self.sum("pointsman_sent_packets_total");
        let answered = self.sum("pointsman_answered_packets_total");
        let dropped = self.sum("pointsman_drops_total");
        assert_eq!(received, sent + answered + dropped, "{sent} sent, {answered} answered, {dropped} dropped");
    }
}

fn total(counter: &Value) -> u64 {
    match counter {
        Value::Object(labels) => labels.values().map(total).sum(),
        value => value.as_u64().expect("a number"),
    }
}

fn above_zero(labels: &Value) -> BTreeMap<String, u64> {
    let labels = labels.as_object().expect("it has a label").iter();
    labels.map(|(label, value)| (label.clone(), total(value))).filter(|(_, value)| *value > 0).collect()
}
