use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use super::*;
use crate::parse;
use crate::script::{Memory, series::parse_series};
use crate::storage::{Selection, Series, StorageError};

fn memory(lines: &[&str]) -> Memory {
    let mut memory = Memory::default();
    memory.load(Span::from_seconds(60), lines.iter().map(|line| parse_series(line).unwrap()));
    memory
}

fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// Counts how often it is read, and over which times.
#[derive(Default)]
struct Counting {
    inner: Memory,
    reads: AtomicUsize,
    /// Of the last read.
    from: AtomicI64,
    to: AtomicI64,
}

impl Storage for Counting {
    fn select(&self, selection: &Selection<'_>) -> Result<Vec<Series>, StorageError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.from.store(selection.from.as_millis(), Ordering::Relaxed);
        self.to.store(selection.to.as_millis(), Ordering::Relaxed);
        self.inner.select(selection)
    }
}

struct Failing;

impl Storage for Failing {
    fn select(&self, _: &Selection<'_>) -> Result<Vec<Series>, StorageError> {
        Err(StorageError("the disk is gone".to_owned()))
    }
}

fn evaluate(query: &str, options: &Options<'_>) -> Result<Answer, QueryError> {
    let memory = memory(&["x{i=\"1\"} 0+1x60", "x{i=\"2\"} 0+2x60"]);
    range(&memory, &parse(query).unwrap(), seconds(0), seconds(3600), Span::from_seconds(60), options)
}

#[test]
fn a_range_query_reads_each_selector_once_and_no_more_than_it_needs() {
    let storage = Counting { inner: memory(&["x 0+1x60"]), ..Counting::default() };
    let expr = parse("rate(x[5m] offset 1m)").unwrap();
    let answer =
        range(&storage, &expr, seconds(600), seconds(1200), Span::from_seconds(15), &Options::default()).unwrap();
    assert_eq!(storage.reads.into_inner(), 1);
    assert_eq!((storage.from.into_inner(), storage.to.into_inner()), (240_001, 1_140_000));
    let Value::Matrix(series) = answer.value else { panic!("expected a matrix") };
    assert_eq!((series.len(), series[0].points.len()), (1, 41));
}

#[test]
fn a_range_query_starts_at_its_start_and_does_not_pass_its_end() {
    let expr = parse("time()").unwrap();
    let answer =
        range(&Memory::default(), &expr, seconds(10), seconds(29), Span::from_seconds(10), &Options::default())
            .unwrap();
    let points = vec![(10_000, 10.0), (20_000, 20.0)];
    assert_eq!(answer.value, Value::Matrix(vec![PointSeries { labels: Labels::default(), points }]));
    let backwards =
        range(&Memory::default(), &expr, seconds(2), seconds(1), Span::from_seconds(1), &Options::default());
    assert_eq!(backwards.unwrap().value, Value::Matrix(Vec::new()));
}

#[test]
fn queries_that_hold_too_much_are_given_up() {
    let small = Options { max_samples: 100, ..Options::default() };
    for query in ["x", "sum(x)", "rate(x[5m])", "sum_over_time(vector(1)[1h:1s])", "x + 1"] {
        assert_eq!(evaluate(query, &small).unwrap_err(), QueryError::TooManySamples, "{query}");
        assert!(evaluate(query, &Options { max_samples: 10_000, ..Options::default() }).is_ok(), "{query}");
    }
    // Nothing is allocated for steps beyond the limit.
    let expr = parse("1").unwrap();
    let long = range(&Memory::default(), &expr, seconds(0), Timestamp::MAX, Span::from_millis(1), &Options::default());
    assert_eq!(long.unwrap_err(), QueryError::TooManySamples);
}

#[test]
fn a_cancelled_query_ends() {
    let asked = Cell::new(0);
    let cancelled = || {
        asked.set(asked.get() + 1);
        asked.get() > 5
    };
    let options = Options { cancelled: Some(&cancelled), ..Options::default() };
    assert_eq!(evaluate("sum(rate(x[5m])) + sum(x)", &options).unwrap_err(), QueryError::Cancelled);
    assert_eq!(asked.get(), 6);
}

#[test]
fn a_failing_storage_fails_the_query_with_its_reason() {
    let error = instant(&Failing, &parse("sum(x)").unwrap(), seconds(0), &Options::default()).unwrap_err();
    assert_eq!(error.to_string(), "the disk is gone");
}

#[test]
fn range_queries_of_ranges_and_strings_are_refused() {
    for query in ["x[5m]", "\"text\""] {
        assert!(evaluate(query, &Options::default()).is_err(), "{query}");
    }
    let zero = range(&Memory::default(), &parse("1").unwrap(), seconds(0), seconds(1), Span::ZERO, &Options::default());
    assert!(zero.is_err());
}

#[test]
fn names_are_dropped_at_once_or_at_the_end() {
    let memory = memory(&["x{i=\"1\"} 1", "y{i=\"1\"} 2"]);
    let expr = parse("label_replace(-{i=\"1\"}, \"name\", \"$1\", \"__name__\", \"(.+)\")").unwrap();
    let evaluate = |delayed_name_removal| {
        instant(&memory, &expr, seconds(0), &Options { delayed_name_removal, ..Options::default() })
    };
    assert!(evaluate(false).is_err());
    let Value::Vector(samples) = evaluate(true).unwrap().value else { panic!("expected a vector") };
    let labels: Vec<String> = samples.iter().map(|sample| sample.labels.to_string()).collect();
    assert_eq!(labels, [r#"{i="1", name="x"}"#, r#"{i="1", name="y"}"#]);
}

#[test]
fn aggregations_of_rows_as_they_come_are_those_of_all_rows_bit_for_bit() {
    let memory = memory(&[
        "x_total{i=\"1\", j=\"a\"} 0.1+0.3x20 1 _ 7 stale 9+0.7x20",
        "x_total{i=\"2\", j=\"a\"} 0+1.1x50",
        "x_total{i=\"3\", j=\"b\"} 5-0.2x50",
        "y_total{i=\"5\", j=\"b\"} 1+1e9x50",
        "z{i=\"4\", j=\"b\"} 1 NaN 3 Inf -Inf 4+0.1x40",
    ]);
    let of = [
        "rate(x_total[5m])",
        "increase({i=~\"3|5\"}[3m])",
        "delta(z[4m])",
        "last_over_time(x_total[2m])",
        "x_total",
        "z",
    ];
    let more = ["(x_total)", "rate({__name__=~\".+_total\"}[5m])", "quantile_over_time(0.3, z[9m:1m])", "nothing"];
    for operator in ["sum", "avg", "stddev", "stdvar", "count", "group", "min", "max"] {
        for grouping in ["", "by (j)", "without (i)", "by (i)"] {
            for of in of.iter().chain(&more) {
                let expr = parse(&format!("{operator} {grouping} ({of})")).unwrap();
                // With names dropped at the end, rows are held until all are there.
                let evaluate = |delayed_name_removal, end| {
                    let options = Options { delayed_name_removal, ..Options::default() };
                    let (start, step) = (seconds(120), Span::from_seconds(30));
                    let answer = range(&memory, &expr, start, seconds(end), step, &options)?;
                    Ok::<_, QueryError>((format!("{:?}", answer.value), answer.infos, answer.effort.samples))
                };
                for end in [120, 2400] {
                    assert_eq!(evaluate(false, end), evaluate(true, end), "{expr}");
                }
            }
        }
    }
}

#[test]
fn extreme_times_and_lengths_do_not_overflow() {
    let memory = memory(&["x 1 2 3"]);
    for query in ["x offset 290y", "x @ -9e15", "rate(x[290y])", "x[100y:1y] offset -290y", "sum_over_time(x[1y:1ms])"]
    {
        let expr = parse(query).unwrap();
        for at in [Timestamp::MIN, Timestamp::EPOCH, Timestamp::MAX] {
            let _ = instant(&memory, &expr, at, &Options { max_samples: 1000, ..Options::default() });
        }
    }
}
