//! Builds families of metrics.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use crate::model::Delays;

pub(super) fn gauges(name: &str, help: &str, samples: impl IntoIterator<Item = Metric>) -> MetricFamily {
    family(name, help, MetricType::GAUGE, samples)
}

pub(super) fn counters(name: &str, help: &str, samples: impl IntoIterator<Item = Metric>) -> MetricFamily {
    family(name, help, MetricType::COUNTER, samples)
}

/// A family of one gauge without labels.
pub(super) fn plain(name: &str, help: &str, value: impl Into<f64>) -> MetricFamily {
    gauges(name, help, [gauge(&[], value.into())])
}

/// A family of one histogram without labels.
pub(super) fn histogram(name: &str, help: &str, delays: &Delays) -> MetricFamily {
    let bucket = |(bound, count): (std::time::Duration, u64)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound.as_secs_f64());
        bucket.set_cumulative_count(count);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(delays.cumulative().map(bucket).collect());
    histogram.set_sample_count(delays.count());
    histogram.set_sample_sum(delays.sum().as_secs_f64());
    let mut sample = Metric::default();
    sample.set_histogram(histogram);
    family(name, help, MetricType::HISTOGRAM, [sample])
}

fn family(
    name: &str,
    help: &str,
    kind: MetricType,
    samples: impl IntoIterator<Item = Metric>,
) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(samples.into_iter().collect());
    family
}

pub(super) fn gauge(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut sample = Metric::from_label(pairs(labels));
    sample.set_gauge(gauge);
    sample
}

pub(super) fn counter(labels: &[(&str, &str)], count: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(count as f64);
    let mut sample = Metric::from_label(pairs(labels));
    sample.set_counter(counter);
    sample
}

fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |&(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}
