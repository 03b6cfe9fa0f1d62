//! What every list of ours understands: pages, blocking queries, and filters by word.
//!
//! `?index=N&wait=30s` waits until the list is later than `N`. `?limit=&cursor=` pages through it: a cursor is the place of
//! the last item in the order of the list, so that items which come and go between two pages neither repeat nor hide
//! others. Everything else is a filter of the list; a parameter that nobody asks for is refused.

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

/// Items of a page, if nothing is said; a cluster of a hundred fits one.
const DEFAULT_LIMIT: usize = 100;
/// Items of a page at most. One item has some 400 bytes.
const MAX_LIMIT: usize = 1000;
/// How long a blocking query waits, if nothing is said.
const DEFAULT_WAIT: Span = Span::from_seconds(30);

/// The parameters of a list, as an extractor.
#[derive(Debug)]
pub struct ListQuery {
    index: Option<Index>,
    wait: Duration,
    limit: usize,
    cursor: Option<String>,
    filters: Vec<(String, String)>,
    asked: Vec<&'static str>,
}

impl<S: Send + Sync> FromRequestParts<S> for ListQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(filters) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
        let mut list = Self { index: None, wait: Duration::ZERO, limit: 0, cursor: None, filters, asked: Vec::new() };
        let bad = |name: &'static str| move |error: String| Problem::bad_request(format!("{name}: {error}"));
        list.index = list.text("index").map(|text| text.parse()).transpose().map_err(bad("index"))?;
        let wait = list.text("wait").map(|text| Span::parse(&text).map_err(|error| format!("{error}, found {text:?}")));
        list.wait = wait.transpose().map_err(bad("wait"))?.unwrap_or(DEFAULT_WAIT).min(MAX_BLOCKING_WAIT).to_std();
        list.limit = list.text("limit").map_or(Ok(DEFAULT_LIMIT), |text| limit(&text)).map_err(bad("limit"))?;
        list.cursor = list.text("cursor");
        Ok(list)
    }
}

fn limit(text: &str) -> Result<usize, String> {
    let limit: usize = text.parse().map_err(|_| format!("expected a number, found {text:?}"))?;
    if (1..=MAX_LIMIT).contains(&limit) { Ok(limit) } else { Err(format!("{limit} is not between 1 and {MAX_LIMIT}")) }
}

impl ListQuery {
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
        let Some(text) = self.text(name) else { return Ok(None) };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(Some(*value));
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        Err(Problem::bad_request(format!("{name}: expected one of {}, found {text:?}", names.join(", "))))
    }

    /// Refuses parameters that were not taken.
    ///
    /// # Errors
    /// A problem that names the first one, and the nearest that exists.
    pub fn finish(&self) -> Result<(), Problem> {
        let Some((name, _)) = self.filters.first() else { return Ok(()) };
        let hint = match nearest(name, self.asked.iter().copied()) {
            Some(hint) => format!("did you mean `{hint}`?"),
            None => format!("expected one of {}", self.asked.join(", ")),
        };
        Err(Problem::bad_request(format!("unknown parameter `{name}`, {hint}")))
    }

    /// Waits, if an index was given, until the list is later than that; `later` does the waiting.
    ///
    /// # Errors
    /// 410 if the index is of another life of the program, whose `current` index is given.
    pub async fn wait<F: Future>(&self, current: Index, later: impl FnOnce(Index) -> F) -> Result<(), Problem> {
        let Some(index) = self.index else { return Ok(()) };
        if index.epoch != current.epoch || index.counter > current.counter {
            let detail = format!("the index {index} is of another life of this program; begin again without one");
            return Err(Problem::new(StatusCode::GONE, "index_gone", detail));
        }
        let _ = tokio::time::timeout(self.wait, later(index)).await;
        Ok(())
    }

    /// One page of `items`, which are sorted by their `place`, and the cursor of the next page.
    pub fn page<'a, T: Clone + 'a>(
        &self,
        items: impl Iterator<Item = &'a T>,
        place: impl Fn(&T) -> (String, String),
    ) -> (Vec<T>, Option<String>) {
        let after = self.cursor.as_deref().map(|cursor| cursor.rsplit_once('/').unwrap_or((cursor, "")));
        let behind = |item: &T| {
            let place = place(item);
            after.is_none_or(|after| (place.0.as_str(), place.1.as_str()) > after)
        };
        let mut items = items.filter(|item| behind(item));
        let page: Vec<T> = items.by_ref().take(self.limit).cloned().collect();
        let cursor = |last: &T| {
            let (name, id) = place(last);
            format!("{name}/{id}")
        };
        let next_cursor = items.next().and(page.last()).map(cursor);
        (page, next_cursor)
    }
}
