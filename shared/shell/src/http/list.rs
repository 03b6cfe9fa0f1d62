//! What every list of ours understands: blocking queries, pages, filters and fields, in one place.
//!
//! - `?index=N&wait=30s` waits until the list is later than `N`, at most a minute. Who gives an index of another life of the
//!   program gets 410 `index_gone` and begins again without one. Waits that end without news are spread a little, so that
//!   clients that began together do not stay together.
//! - `?limit=&cursor=` pages through it: a cursor is the place of the last item in the order of the list, so that items
//!   which come and go between two pages neither repeat nor hide others.
//! - `?filter=` ([`Filter`] has the syntax) and `?fields=name,state` choose items and what is shown of them.
//! - Everything else is a parameter of the list itself; one that nobody asks for is refused.
//!
//! A handler of a list reads, in this order:
//!
//! ```ignore
//! async fn list(State(app): State<Arc<App>>, mut query: ListQuery) -> Result<Json<List<Item>>, Problem> {
//!     let mode = query.word("mode", MODES)?;                        // its own parameters, each taken by name
//!     let choice = query.choose(&["name", "mode", "labels"])?;      // filter and fields, over these fields of an item
//!     query.finish()?;                                              // what is left is a mistake
//!     query.wait(app.published.index(), |index| app.published.later_than(index)).await?;
//!     let index = app.published.index();                            // before the items are read, so that no change is missed
//!     let view = app.published.view();
//!     let items = view.items.iter().filter(|item| mode.is_none_or(|mode| mode == item.mode));
//!     let place = |item: &Item| (item.name.clone(), String::new()); // the order in which the items stand
//!     Ok(Json(query.answer(index, items, place, &choice)))
//! }
//! ```

mod filter;

mod page;

use std::future::Future;
use std::time::Duration;

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use watchfire_shared::document::nearest;
use watchfire_shared::limits::MAX_BLOCKING_WAIT;
use watchfire_shared::time::Span;

use super::problem::Problem;
use crate::membership::Index;

pub use filter::{Choice, Filter, FilterError};
pub use page::{List, Shown};

/// Items of a page, if nothing is said; a cluster of a hundred fits one.
const DEFAULT_LIMIT: usize = 100;
/// Items of a page at most. One item has some 400 bytes.
const MAX_LIMIT: usize = 1000;
/// How long a blocking query waits, if nothing is said.
const DEFAULT_WAIT: Span = Span::from_seconds(30);
/// A wait is longer by up to this part of it, as in Consul.
const JITTER: f64 = 1.0 / 16.0;

/// The parameters of a list, as an extractor.
#[derive(Debug)]
pub struct ListQuery {
    index: Option<Index>,
    wait: Duration,
    limit: usize,
    cursor: Option<(String, String)>,
    filters: Vec<(String, String)>,
    asked: Vec<&'static str>,
}

impl<S: Send + Sync> FromRequestParts<S> for ListQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut list = Self::bare(parts)?;
        let bad = |name: &'static str| move |error: String| Problem::bad_request(format!("{name}: {error}"));
        list.index = list.text("index").map(|text| text.parse()).transpose().map_err(bad("index"))?;
        list.wait = list.text("wait").map_or(Ok(DEFAULT_WAIT), |text| wait(&text)).map_err(bad("wait"))?.to_std();
        list.limit = list.text("limit").map_or(Ok(DEFAULT_LIMIT), |text| limit(&text)).map_err(bad("limit"))?;
        list.cursor = list.text("cursor").map(|text| page::read_cursor(&text)).transpose().map_err(bad("cursor"))?;
        Ok(list)
    }
}

fn limit(text: &str) -> Result<usize, String> {
    let limit: usize = text.parse().map_err(|_| format!("expected a number, found {text:?}"))?;
    if (1..=MAX_LIMIT).contains(&limit) { Ok(limit) } else { Err(format!("{limit} is not between 1 and {MAX_LIMIT}")) }
}

fn wait(text: &str) -> Result<Span, String> {
    let wait = Span::parse(text).map_err(|error| format!("{error}, found {text:?}"))?;
    if wait < Span::ZERO { Err(format!("expected a length of time, found {text:?}")) } else { Ok(wait) }
}

/// How long a wait lasts that was asked to last `asked`; `chance` is between 0 and 1.
fn spread(asked: Duration, chance: f64) -> Duration {
    let longest = MAX_BLOCKING_WAIT.to_std();
    asked.min(longest.div_f64(1.0 + JITTER)).mul_f64(1.0 + JITTER * chance)
}

impl ListQuery {
    /// The parameters of something that is no list, for [`Self::text`] and its like, and [`Self::finish`].
    ///
    /// # Errors
    /// A problem, if they cannot be read at all.
    pub fn bare(parts: &Parts) -> Result<Self, Problem> {
        let Query(filters) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
        Ok(Self { index: None, wait: Duration::ZERO, limit: MAX_LIMIT, cursor: None, filters, asked: Vec::new() })
    }

    /// Takes a parameter of any text.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.asked.push(name);
        let at = self.filters.iter().position(|(own, _)| own == name)?;
        Some(self.filters.remove(at).1)
    }

    /// Takes a parameter of any text that may be given several times.
    pub fn texts(&mut self, name: &'static str) -> Vec<String> {
        self.asked.push(name);
        let (own, rest) = std::mem::take(&mut self.filters).into_iter().partition(|(filter, _)| filter == name);
        self.filters = rest;
        let own: Vec<(String, String)> = own;
        own.into_iter().map(|(_, text)| text).collect()
    }

    /// Takes a parameter that is one of some words.
    ///
    /// # Errors
    /// A problem that names the words.
    pub fn word<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Result<Option<T>, Problem> {
        self.text(name).map(|text| one_of(name, &text, words)).transpose()
    }

    /// Takes a parameter that is some of some words, with commas between or given several times; none if it is not given.
    ///
    /// # Errors
    /// A problem that names the words.
    pub fn words<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Result<Vec<T>, Problem> {
        let texts = self.texts(name);
        texts.iter().flat_map(|text| text.split(',')).map(|text| one_of(name, text.trim(), words)).collect()
    }

    /// Takes the parameter `label`, `NAME=VALUE`, as often as it is given.
    ///
    /// # Errors
    /// A problem that shows what is no label.
    pub fn labels(&mut self) -> Result<Vec<(String, String)>, Problem> {
        let label = |text: String| match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(Problem::bad_request(format!("label: expected NAME=VALUE, found {text:?}"))),
        };
        self.texts("label").into_iter().map(label).collect()
    }

    /// Takes `filter` and `fields`; `known` are the fields that the list's items have.
    ///
    /// # Errors
    /// A problem that says where the filter is wrong, or names the nearest field.
    pub fn choose(&mut self, known: &'static [&'static str]) -> Result<Choice, Problem> {
        let (filters, fields) = (self.texts("filter"), self.text("fields"));
        Choice::new(known, &filters, fields.as_deref()).map_err(|error| Problem::bad_request(error.to_string()))
    }

    /// Refuses parameters that were not taken.
    ///
    /// # Errors
    /// A problem that names the first one, and the nearest that exists.
    pub fn finish(&self) -> Result<(), Problem> {
        let Some((name, _)) = self.filters.first() else { return Ok(()) };
        if self.asked.contains(&name.as_str()) {
            return Err(Problem::bad_request(format!("{name}: it is given more than once")));
        }
        let hint = match nearest(name, self.asked.iter().copied()) {
            Some(hint) => format!(", did you mean `{hint}`?"),
            None if self.asked.is_empty() => "; none is taken here".to_owned(),
            None => format!(", expected one of {}", self.asked.join(", ")),
        };
        Err(Problem::bad_request(format!("unknown parameter `{name}`{hint}")))
    }

    /// Waits, if an index was given, until the list is later than that; `later` does the waiting.
    ///
    /// # Errors
    /// 410 if the index is of another life of the program, whose `current` index is given.
    pub async fn wait<F: Future>(&self, current: Index, later: impl FnOnce(Index) -> F) -> Result<(), Problem> {
        let Some(index) = self.index else { return Ok(()) };
        if index.epoch != current.epoch || index.counter > current.counter {
            return Err(Problem::index_gone(format!(
                "the index {index} is of another life of this program; begin again without one"
            )));
        }
        let _ = tokio::time::timeout(spread(self.wait, rand::random()), later(index)).await;
        Ok(())
    }
}

fn one_of<T: Copy>(name: &str, text: &str, words: &[(&str, T)]) -> Result<T, Problem> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    Err(Problem::bad_request(format!("{name}: expected one of {}, found {text:?}", names.join(", "))))
}

impl Problem {
    /// 410: what a client knows cannot be continued here; it begins anew.
    pub(crate) fn index_gone(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "index_gone", detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_spread_and_never_longer_than_a_minute() {
        let seconds = Duration::from_secs;
        assert_eq!((spread(seconds(32), 0.0), spread(seconds(32), 1.0)), (seconds(32), seconds(34)));
        assert_eq!(spread(Duration::ZERO, 1.0), Duration::ZERO);
        assert!(spread(seconds(3600), 0.0) >= seconds(56));
        assert!(spread(seconds(60), 1.0) <= seconds(60) && spread(seconds(60), 1.0) > seconds(59));
    }
}
