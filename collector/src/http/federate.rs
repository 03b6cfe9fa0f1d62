//! `/federate`: the latest samples of the series that were asked for, as another Prometheus scrapes them.

mod escaping;

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use watchfire_collector_core::engine::SnapshotStorage;
use watchfire_promql::{Options, Selection, Storage, format_float, parse_selector};
use watchfire_shared::labels::{Labels, METRIC_NAME, is_metric_name};
use watchfire_shared::sample::{Sample, is_stale};

use super::App;
use super::lookup::MAX_SELECTORS;
use crate::prometheus::parameters::Parameters;
use escaping::{Escaping, quoted};

/// The label that a scraper would set by itself, were it not there.
const INSTANCE: &str = "instance";

pub(super) async fn federate(State(app): State<Arc<App>>, headers: HeaderMap, parameters: Parameters) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let escaping = Escaping::negotiated(accept);
    let refused = |message: String| (StatusCode::BAD_REQUEST, message + "\n").into_response();
    if parameters.all("match[]").count() > MAX_SELECTORS {
        return refused(format!("more than {MAX_SELECTORS} selectors"));
    }
    let selectors: Vec<_> = match parameters.all("match[]").map(parse_selector).collect::<Result<_, _>>() {
        Ok(selectors) => selectors,
        Err(error) => return refused(error.to_string()),
    };
    let external = Labels::new(app.reloader.last().settings.rules.external_labels.clone());
    let failed = || (StatusCode::INTERNAL_SERVER_ERROR, "the series could not be read\n").into_response();
    let Ok(place) = app.queries.clone().acquire_owned().await else { return failed() };
    let storage = SnapshotStorage(app.published.snapshot().await);
    let to = app.clock.wall();
    let from = to - Options::default().lookback;
    let task = tokio::task::spawn_blocking(move || {
        let _place = place;
        let read = |matchers: &Vec<_>| storage.latest(&Selection { matchers, from, to });
        // Without a matcher nothing is selected, as in Prometheus.
        let selectors = selectors.iter().filter(|matchers| !matchers.is_empty());
        let samples = selectors.map(read).collect::<Result<Vec<_>, _>>()?;
        Ok::<_, watchfire_promql::StorageError>(exposition(
            samples.into_iter().flatten().collect(),
            &external,
            escaping,
        ))
    });
    match task.await {
        Ok(Ok(text)) => {
            let kind = format!("text/plain; version=0.0.4; charset=utf-8; escaping={}", escaping.as_str());
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Ok(Err(_)) | Err(_) => failed(),
    }
}

/// The samples as text, each series once: those of a name together, with the external labels that they do not have
/// themselves. Stale markers cannot be told in this format, nor series without a name.
fn exposition(mut samples: Vec<Sample>, external: &Labels, escaping: Escaping) -> String {
    samples.retain(|sample| !is_stale(sample.value) && sample.labels.get(METRIC_NAME).is_some());
    samples.sort_by(|left, right| {
        left.labels.get(METRIC_NAME).cmp(&right.labels.get(METRIC_NAME)).then_with(|| left.labels.cmp(&right.labels))
    });
    samples.dedup_by(|left, right| left.labels == right.labels);
    // An empty instance keeps the scraper from setting its own.
    let unset = external.get(INSTANCE).is_none().then_some((INSTANCE, ""));
    let mut added: Vec<_> = external.iter().chain(unset).collect();
    added.sort_unstable();
    let (mut out, mut family) = (String::new(), None);
    for sample in &samples {
        let name = sample.labels.get(METRIC_NAME);
        if name != family {
            family = name;
            let _ = writeln!(out, "# TYPE {} untyped", escaping.written(name.unwrap_or_default()));
        }
        line(sample, &added, escaping, &mut out);
    }
    out
}

fn line(sample: &Sample, added: &[(&str, &str)], escaping: Escaping, out: &mut String) {
    let name = sample.labels.get(METRIC_NAME).unwrap_or_default();
    // A name in quotes stands among the labels.
    let is_inside = escaping == Escaping::AllowUtf8 && !is_metric_name(name);
    let _ = write!(out, "{}{}", if is_inside { "{" } else { "" }, escaping.written(name));
    let own = sample.labels.iter().filter(|(name, _)| *name != METRIC_NAME);
    let missing = added.iter().copied().filter(|(name, _)| sample.labels.get(name).is_none());
    let mut before = if is_inside { ',' } else { '{' };
    for (name, value) in own.chain(missing) {
        let _ = write!(out, "{before}{}=\"{}\"", escaping.written(name), quoted(value));
        before = ',';
    }
    let _ = writeln!(out, "}} {} {}", format_float(sample.value), sample.at.as_millis());
}

#[cfg(test)]
mod tests {
    use watchfire_shared::sample::stale_nan;
    use watchfire_shared::time::Timestamp;

    use super::*;

    #[test]
    fn samples_stand_by_name_with_the_labels_they_lack() {
        let sample = |labels: &[(&str, &str)], value| Sample {
            labels: Labels::new(labels.iter().copied()),
            at: Timestamp::from_millis(1_435_781_430_781),
            value,
        };
        let samples = vec![
            sample(&[("__name__", "up"), ("instance", "b"), ("job", "a \"b\"\\\n")], 1.0),
            sample(&[("a", "nameless")], 1.0),
            sample(&[("__name__", "gone")], stale_nan()),
            sample(&[("__name__", "load.1"), ("cluster", "own"), ("A", "x")], 1.5e9),
            sample(&[("__name__", "up")], f64::NAN),
            sample(&[("__name__", "up"), ("instance", "b"), ("job", "a \"b\"\\\n")], 1.0),
        ];
        let expected = "# TYPE load_1 untyped\n\
                        load_1{A=\"x\",cluster=\"own\",instance=\"\",zone=\"1\"} 1.5e+09 1435781430781\n\
                        # TYPE up untyped\n\
                        up{cluster=\"eu\",instance=\"\",zone=\"1\"} NaN 1435781430781\n\
                        up{instance=\"b\",job=\"a \\\"b\\\"\\\\\\n\",cluster=\"eu\",zone=\"1\"} 1 1435781430781\n";
        let external = Labels::new([("cluster", "eu"), ("zone", "1")]);
        assert_eq!(exposition(samples.clone(), &external, Escaping::Underscores), expected);
        assert_eq!(exposition(Vec::new(), &Labels::default(), Escaping::Values), "");
        let quoted = expected.replace("# TYPE load_1 ", "# TYPE \"load.1\" ").replace("load_1{", "{\"load.1\",");
        assert_eq!(exposition(samples, &external, Escaping::AllowUtf8), quoted);
    }
}
