//! Reads Prometheus text.

/// One look at `/metrics`.
pub struct Metrics {
    text: String,
}

impl Metrics {
    /// Takes the text as it was served.
    pub fn new(text: String) -> Self {
        Self { text }
    }

    /// The sum of all series of a metric; panics where there is none.
    pub fn sum(&self, name: &str) -> u64 {
        self.sum_where(name, "")
    }

    /// The sum of a metric's series whose labels contain `label`, such as `service="web"`.
    pub fn sum_where(&self, name: &str, label: &str) -> u64 {
        let series: Vec<u64> =
            self.series(name).filter(|(labels, _)| labels.contains(label)).map(|(_, value)| value).collect();
        assert!(!series.is_empty(), "/metrics has no {name} with {label:?}:\n{}", self.text);
        series.iter().sum()
    }

    /// Each series of a metric: its labels and its value.
    pub fn series<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
        self.text.lines().filter_map(move |line| {
            let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            let whole_name = labels.is_empty() || labels.starts_with('{');
            whole_name.then(|| Some((labels, value.parse::<f64>().ok()? as u64))).flatten()
        })
    }

    /// Holds the promise that every received packet was sent, answered, or dropped for a counted reason.
    pub fn assert_balanced(&self) {
        let received = self.sum("pointsman_received_packets_total");
        let sent = self.sum("pointsman_sent_packets_total");
        let answered = self.sum("pointsman_answered_packets_total");
        let dropped: u64 = self.series("pointsman_drops_total").map(|(_, value)| value).sum();
        assert_eq!(received, sent + answered + dropped, "{sent} sent, {answered} answered, {dropped} dropped");
    }
}
