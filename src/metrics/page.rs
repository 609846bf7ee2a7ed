//! A report in Prometheus' text format, written by the library.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::proto::{Counter, Gauge, LabelPair, MetricFamily, MetricType, Quantile, Summary};
use prometheus::{TextEncoder, proto};

use crate::stats::{self, Counters, Kind, METRICS, Metric, QUANTILES, Report, Value};

/// The report as text.
///
/// # Errors
/// None that a report can cause: the library refuses metrics without a name or without a sample, and there are none.
pub fn text(report: &Report) -> Result<String, prometheus::Error> {
    let families: Vec<MetricFamily> = METRICS.iter().filter_map(|metric| family(metric, report)).collect();
    TextEncoder::new().encode_to_string(&families)
}

/// A metric with all its samples; none where it has no sample yet.
fn family(metric: &Metric, report: &Report) -> Option<MetricFamily> {
    let samples = (metric.samples)(report);
    let samples = samples.iter().map(|(labels, value)| sample(metric, labels, *value));
    let samples: Vec<proto::Metric> = samples.collect();
    let mut family = MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    family.set_field_type(match metric.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Summary => MetricType::SUMMARY,
    });
    family.set_metric(samples);
    (!family.get_metric().is_empty()).then_some(family)
}

fn sample(metric: &Metric, labels: &[&str], value: Value) -> proto::Metric {
    let pairs = metric.labels.iter().zip(labels).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    let mut sample = proto::Metric::from_label(pairs.collect());
    match value {
        Value::Number(number) if metric.kind == Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(number);
            sample.set_counter(counter);
        }
        Value::Number(number) => {
            let mut gauge = Gauge::default();
            gauge.set_value(number);
            sample.set_gauge(gauge);
        }
        Value::Summary(read) => sample.set_summary(summary(&read)),
    }
    sample
}

/// Prometheus writes NaN where there was nothing to take quantiles of.
fn summary(read: &stats::Summary) -> Summary {
    let values = read.quantiles.unwrap_or([f64::NAN; QUANTILES.len()]);
    let quantiles = QUANTILES.iter().zip(values).map(|(quantile, value)| {
        let mut told = Quantile::default();
        told.set_quantile(*quantile);
        told.set_value(value);
        told
    });
    let mut summary = Summary::default();
    summary.set_quantile(quantiles.collect());
    summary.set_sample_sum(read.sum);
    summary.set_sample_count(read.count);
    summary
}

/// How long a page is good for at least.
const LEAST: Duration = Duration::from_millis(100);
/// Making pages takes at most one part of so many of a core, however many are asked for.
const SHARE: u32 = 10;

/// The page as it was made last.
pub struct Page {
    counters: Arc<Counters>,
    made: Option<(Instant, Arc<[u8]>)>,
}

impl Page {
    /// A page of these counters.
    pub fn new(counters: Arc<Counters>) -> Self {
        Self { counters, made: None }
    }

    /// The page as it is now, or was a moment ago.
    pub fn get(&mut self, now: Instant) -> Arc<[u8]> {
        if let Some((until, page)) = &self.made
            && now < *until
        {
            return page.clone();
        }
        let page: Arc<[u8]> = match text(&self.counters.report()) {
            Ok(text) => text.into_bytes().into(),
            Err(error) => {
                tracing::error!("the metrics cannot be written: {error}");
                Arc::new([])
            }
        };
        let until = now + LEAST.max(now.elapsed() * SHARE);
        self.made = Some((until, page.clone()));
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Count, Measured, Tally, Traffic};

    #[test]
    fn names_are_written_as_the_format_asks() {
        let mut report = Report::default();
        let count = Count { traffic: Traffic { packets: 1 << 40, bytes: 7 }, new_flows: 1 };
        report.add_endpoint("a \"b\" \\ c", "{x=\"y\"}", count);
        report.add_worker(0, &Tally::default());
        report.add_timing(3, &Measured::default());
        let text = text(&report).expect("it can be written");
        for line in [
            "# TYPE pointsman_endpoint_packets_total counter",
            r#"pointsman_endpoint_packets_total{service="a \"b\" \\ c",endpoint="{x=\"y\"}"} 1099511627776"#,
            r#"pointsman_drops_total{reason="loop"} 0"#,
            r#"pointsman_latency_seconds{worker="3",quantile="0.999"} NaN"#,
            r#"pointsman_latency_seconds_count{worker="3"} 0"#,
            "pointsman_generation 0",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is not in\n{text}");
        }
    }
}
