//! Metric families made of plain figures when somebody asks.
//!
//! Knows how Prometheus has them, and nothing of what they mean.

use crate::hub::Tally;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

/// Labels of a metric: names and values.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// Families, one after the other.
#[derive(Default)]
pub(super) struct Families(pub Vec<MetricFamily>);

impl Families {
    /// A counter without labels.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.add(MetricType::COUNTER, name, help, vec![counter(&[], value)]);
    }

    /// A counter for each value of one label.
    pub fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        let values = values.into_iter().map(|(of, value)| counter(&[(label, of)], value));
        self.add(MetricType::COUNTER, name, help, values.collect());
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: usize) {
        self.add(MetricType::GAUGE, name, help, vec![gauge(&[], value)]);
    }

    /// A gauge for each value of one label. A family of none is left out.
    pub fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, usize)>,
    ) {
        let values = values.into_iter().map(|(of, value)| gauge(&[(label, of)], value));
        self.add(MetricType::GAUGE, name, help, values.collect());
    }

    /// Histograms. A family of none is left out, since the format has no such thing.
    pub fn histograms(&mut self, name: &str, help: &str, metrics: Vec<Metric>) {
        self.add(MetricType::HISTOGRAM, name, help, metrics);
    }

    /// Counters. A family of none is left out.
    pub fn of_counters(&mut self, name: &str, help: &str, metrics: Vec<Metric>) {
        self.add(MetricType::COUNTER, name, help, metrics);
    }

    fn add(&mut self, kind: MetricType, name: &str, help: &str, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }
}

/// A counter.
pub(super) fn counter(labels: Labels, value: u64) -> Metric {
    let (mut metric, mut counter) = (labelled(labels), Counter::default());
    // Exact up to 2^53, which is what the format allows.
    counter.set_value(value as f64);
    metric.set_counter(counter);
    metric
}

fn gauge(labels: Labels, value: usize) -> Metric {
    let (mut metric, mut gauge) = (labelled(labels), Gauge::default());
    gauge.set_value(value as f64);
    metric.set_gauge(gauge);
    metric
}

/// A histogram of values of which `per_unit` make one of the unit that is shown.
pub(super) fn histogram<const N: usize>(labels: Labels, tally: &Tally<N>, per_unit: f64) -> Metric {
    let buckets = tally.cumulative().map(|(edge, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(edge as f64 / per_unit);
        bucket.set_cumulative_count(count);
        bucket
    });
    let (mut metric, mut histogram) = (labelled(labels), Histogram::default());
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(tally.count());
    histogram.set_sample_sum(tally.sum() as f64 / per_unit);
    metric.set_histogram(histogram);
    metric
}

fn labelled(labels: Labels) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}
