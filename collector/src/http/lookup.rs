//! Which series, label names and label values there are: `/api/v1/series`, `labels`, `label/NAME/values`.

use std::sync::Arc;

use axum::extract::{Path, State};
use watchfire_promql::{parse_selector, selects_all};
use watchfire_shared::labels::Labels;
use watchfire_shared::matcher::Matcher;
use watchfire_shared::time::Timestamp;

use super::App;
use crate::prometheus::answer::{ApiError, ErrorKind, Result, Success};
use crate::prometheus::parameters::Parameters;

/// What is said where a limit cut something off.
pub(super) const TRUNCATED: &str = "results truncated due to limit";
/// Selectors of one lookup; dashboards name one or two.
pub(super) const MAX_SELECTORS: usize = 256;

/// What a lookup selects: any of several lists of matchers, within a time.
struct Lookup {
    selectors: Vec<Vec<Matcher>>,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
}

/// How Prometheus words a selector's mistake: each resource does it in its own way.
#[derive(Clone, Copy)]
enum Worded {
    WithName,
    Bare,
}

impl Lookup {
    fn of(parameters: &Parameters, worded: Worded) -> std::result::Result<Self, ApiError> {
        let limit = parameters.limit()?;
        let from = parameters.bound("start")?.unwrap_or(Timestamp::MIN);
        let to = parameters.bound("end")?.unwrap_or(Timestamp::MAX);
        if parameters.all("match[]").count() > MAX_SELECTORS {
            return Err(ApiError::parameter("match[]", format!("more than {MAX_SELECTORS} selectors")));
        }
        let selectors = parameters.all("match[]").map(selector).collect::<std::result::Result<_, _>>();
        let selectors = selectors.map_err(|error| match worded {
            Worded::WithName => ApiError::parameter("match[]", error),
            Worded::Bare => ApiError::bad_data(error),
        })?;
        Ok(Self { selectors, from, to, limit })
    }

    /// Sorted, each item once, over all selectors; everything if there is none.
    fn collect<T: Ord>(&self, mut select: impl FnMut(&[Matcher]) -> Vec<T>) -> (Vec<T>, bool) {
        let mut found: Vec<T> = match self.selectors.is_empty() {
            _ if self.from > self.to => Vec::new(),
            true => select(&[]),
            false => self.selectors.iter().flat_map(|matchers| select(matchers)).collect(),
        };
        found.sort_unstable();
        found.dedup();
        let cut = found.len() > self.limit;
        found.truncate(self.limit);
        (found, cut)
    }
}

/// Reads a selector that does not select everything; the error is a message.
pub(super) fn selector(text: &str) -> std::result::Result<Vec<Matcher>, String> {
    let matchers = parse_selector(text).map_err(|error| error.to_string())?;
    match selects_all(&matchers) {
        true => Err("match[] must contain at least one non-empty matcher".to_owned()),
        false => Ok(matchers),
    }
}

pub(super) async fn series(State(app): State<Arc<App>>, parameters: Parameters) -> Result<Vec<Labels>> {
    if parameters.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let lookup = Lookup::of(&parameters, Worded::WithName)?;
    let snapshot = app.published.snapshot().await;
    looked_up(move || lookup.collect(|matchers| snapshot.series(matchers, lookup.from, lookup.to))).await
}

pub(super) async fn labels(State(app): State<Arc<App>>, parameters: Parameters) -> Result<Vec<String>> {
    let lookup = Lookup::of(&parameters, Worded::Bare)?;
    let snapshot = app.published.snapshot().await;
    looked_up(move || lookup.collect(|matchers| snapshot.label_names(matchers, lookup.from, lookup.to))).await
}

pub(super) async fn label_values(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Vec<String>> {
    // A name in UTF-8 may come in the form that old clients can write.
    let name = name.strip_prefix("U__").and_then(unescaped).unwrap_or(name);
    if name.is_empty() {
        return Err(ApiError::bad_data(format!("invalid label name: {name:?}")));
    }
    let lookup = Lookup::of(&parameters, Worded::Bare)?;
    let snapshot = app.published.snapshot().await;
    looked_up(move || lookup.collect(|matchers| snapshot.label_values(&name, matchers, lookup.from, lookup.to))).await
}

/// The name behind Prometheus' "values" escaping without its prefix: `_` doubled, everything else as `_HEX_`.
fn unescaped(text: &str) -> Option<String> {
    let mut name = String::new();
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('_') {
        name.push_str(plain);
        if let Some(after) = escaped.strip_prefix('_') {
            name.push('_');
            rest = after;
        } else {
            let (hex, after) = escaped.split_once('_')?;
            name.push(char::from_u32(u32::from_str_radix(hex, 16).ok()?)?);
            rest = after;
        }
    }
    Some(name + rest)
}

async fn looked_up<T: Send + 'static>(look_up: impl FnOnce() -> (Vec<T>, bool) + Send + 'static) -> Result<Vec<T>> {
    let task = tokio::task::spawn_blocking(look_up).await;
    let (found, cut) = task.map_err(|_| ApiError::new(ErrorKind::Internal, "the lookup failed"))?;
    Ok(Success::warned(found, cut.then_some(TRUNCATED)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_read() {
        assert_eq!(unescaped("http_2e_status__code").as_deref(), Some("http.status_code"));
        assert_eq!(unescaped("plain").as_deref(), Some("plain"));
        assert_eq!(unescaped("bad_zz_x"), None);
        assert_eq!(unescaped("open_2e"), None);
    }
}
