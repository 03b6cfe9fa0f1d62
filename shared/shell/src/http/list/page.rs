//! Pages of a list, and the answer that carries one.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Map, Value};

use super::ListQuery;
use super::filter::Choice;
use crate::membership::Index;

/// The answer of a list: one page, and where to go on.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct List<T> {
    /// The list's version, to wait for a later one with.
    pub index: String,
    /// What `cursor` gets for the next page; `None` after the last.
    pub next_cursor: Option<String>,
    pub items: Vec<Shown<T>>,
}

/// An item, or what was asked for of it.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum Shown<T> {
    Whole(T),
    Parts(Map<String, Value>),
}

impl ListQuery {
    /// One page of `items`, which are sorted by their `place`, as the answer to a request.
    pub fn answer<'a, T: Clone + Serialize + 'a>(
        &self,
        index: Index,
        items: impl Iterator<Item = &'a T>,
        place: impl Fn(&T) -> (String, String),
        choice: &Choice,
    ) -> List<T> {
        let (items, next_cursor) = self.page(items.filter(|item| choice.takes(*item)), place);
        let items = items.into_iter().map(|item| choice.show(item)).collect();
        List { index: index.to_string(), next_cursor, items }
    }

    /// One page of `items`, which are sorted by their `place`, and the cursor of the next page.
    pub fn page<'a, T: Clone + 'a>(
        &self,
        items: impl Iterator<Item = &'a T>,
        place: impl Fn(&T) -> (String, String),
    ) -> (Vec<T>, Option<String>) {
        let behind = |item: &T| self.cursor.as_ref().is_none_or(|after| place(item) > *after);
        let mut items = items.filter(|item| behind(item));
        let page: Vec<T> = items.by_ref().take(self.limit).cloned().collect();
        let next_cursor = items.next().and(page.last()).map(|last| cursor(&place(last)));
        (page, next_cursor)
    }
}

/// A place as a text that needs no escaping anywhere, and that nobody mistakes for something to compose.
fn cursor((first, second): &(String, String)) -> String {
    let bytes = first.bytes().chain([0]).chain(second.bytes());
    bytes.fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// # Errors
/// If it is no cursor that was given out.
pub(super) fn read_cursor(text: &str) -> Result<(String, String), String> {
    let wrong = || format!("expected what an earlier answer gave as next_cursor, found {text:?}");
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
    let place = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(wrong)?;
    let (first, second) = place.split_once('\0').ok_or_else(wrong)?;
    Ok((first.to_owned(), second.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_go_out_and_come_back() {
        for place in [("", ""), ("web-1", "00ff"), ("a/b ü", ""), ("", "x/y")] {
            let place = (place.0.to_owned(), place.1.to_owned());
            assert_eq!(read_cursor(&cursor(&place)), Ok(place));
        }
        for wrong in ["", "web-1/0001", "6", "61", "zz", "+1", "c30000"] {
            assert!(read_cursor(wrong).unwrap_err().starts_with("expected what an earlier answer gave"), "{wrong}");
        }
    }
}
