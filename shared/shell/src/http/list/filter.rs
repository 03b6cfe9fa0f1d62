//! `?filter=` and `?fields=`: which items of a list are wanted, and what of them.
//!
//! ```text
//! filter    = condition *( "," condition )          all of them have to hold
//! condition = field operator value
//! field     = NAME / NAME "." KEY                    as in the answer's items: state, labels.zone, alerts.firing
//! operator  = "=" / "!=" / "=~" / "!~" / "<" / "<=" / ">" / ">="
//! value     = text without commas / DQUOTE text DQUOTE, in which \" and \\ stand for " and \
//! ```
//!
//! `=~` and `!~` match a regular expression against the whole value, as in PromQL. What a field does not have is the empty
//! text. A field that is a list fits if one of its values does, and for `!=` and `!~` if none does. The four that compare
//! are for numbers and times, and hold for nothing else.

use std::cmp::Ordering;

use serde::Serialize;
use serde_json::{Map, Value};
use watchfire_shared::document::nearest;
use watchfire_shared::matcher::{MatchOp, Matcher};
use watchfire_shared::time::Timestamp;

use super::page::Shown;

/// Conditions of one filter. Each is looked at for each item.
const MAX_CONDITIONS: usize = 16;
/// Longer operators first, for they begin like shorter ones.
const OPERATORS: [(&str, Operator); 8] = [
    ("=~", Operator::Match(MatchOp::Regex)),
    ("!~", Operator::Match(MatchOp::NotRegex)),
    ("!=", Operator::Match(MatchOp::NotEqual)),
    ("<=", Operator::Order(&[Ordering::Less, Ordering::Equal])),
    (">=", Operator::Order(&[Ordering::Greater, Ordering::Equal])),
    ("=", Operator::Match(MatchOp::Equal)),
    ("<", Operator::Order(&[Ordering::Less])),
    (">", Operator::Order(&[Ordering::Greater])),
];

#[derive(Clone, Copy)]
enum Operator {
    Match(MatchOp),
    Order(&'static [Ordering]),
}

/// What is wrong with a filter or with a list of fields.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FilterError {
    #[error("filter: expected a condition such as state=down or labels.zone=~\"eu-.*\", found {0:?}")]
    NoCondition(String),
    #[error("filter: the text that begins with {0:?} has no closing quote")]
    OpenQuote(String),
    #[error("filter: {0:?} follows a closing quote; expected a comma")]
    AfterQuote(String),
    #[error("filter: {0}")]
    Regex(#[from] watchfire_shared::matcher::RegexError),
    #[error("filter: {0:?} is neither a number nor a time; < and > compare nothing else")]
    NotComparable(String),
    #[error("filter: more than {MAX_CONDITIONS} conditions")]
    Many,
    #[error("{parameter}: there is no field `{name}`, {hint}")]
    UnknownField { parameter: &'static str, name: String, hint: String },
}

/// The conditions of a filter, all of which have to hold.
#[derive(Clone, Default, Debug)]
pub struct Filter(Vec<Condition>);

#[derive(Clone, Debug)]
struct Condition {
    path: Path,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Match(Matcher),
    Order(&'static [Ordering], Measure),
}

/// A value that has an order.
#[derive(Clone, Copy, Debug)]
enum Measure {
    Number(f64),
    Time(Timestamp),
}

impl Measure {
    fn of(text: &str) -> Option<Self> {
        let number = text.parse().ok().filter(|number: &f64| !number.is_nan()).map(Self::Number);
        number.or_else(|| Timestamp::parse_rfc3339(text).map(Self::Time))
    }

    /// A number and a time have no order.
    fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(own), Self::Number(other)) => own.partial_cmp(&other),
            (Self::Time(own), Self::Time(other)) => Some(own.cmp(&other)),
            _ => None,
        }
    }
}

/// Where a value stands in an item.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Path {
    field: String,
    key: Option<String>,
}

impl Path {
    fn read(parameter: &'static str, text: &str, known: &[&str]) -> Result<Self, FilterError> {
        let (field, key) = match text.split_once('.') {
            Some((field, key)) => (field, Some(key.to_owned())),
            None => (text, None),
        };
        if known.contains(&field) {
            return Ok(Self { field: field.to_owned(), key });
        }
        let hint = match nearest(field, known.iter().copied()) {
            Some(hint) => format!("did you mean `{hint}`?"),
            None if known.contains(&"labels") => {
                format!("expected one of {}, or a label as labels.NAME", known.join(", "))
            }
            None => format!("expected one of {}", known.join(", ")),
        };
        Err(FilterError::UnknownField { parameter, name: text.to_owned(), hint })
    }

    fn find<'a>(&self, item: &'a Value) -> Option<&'a Value> {
        let value = item.get(&self.field)?;
        match &self.key {
            Some(key) => value.get(key),
            None => Some(value),
        }
    }
}

impl Filter {
    /// Reads a filter over items that have the fields `known`.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str, known: &[&str]) -> Result<Self, FilterError> {
        let mut conditions = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            if conditions.len() == MAX_CONDITIONS {
                return Err(FilterError::Many);
            }
            let (condition, after) = condition(rest, known)?;
            conditions.push(condition);
            rest = after;
        }
        Ok(Self(conditions))
    }

    /// Whether an item, as the API shows it, fits.
    #[must_use]
    pub fn takes(&self, item: &Value) -> bool {
        self.0.iter().all(|condition| condition.holds(item))
    }
}

/// Reads one condition. Returns what stands behind its comma.
fn condition<'a>(text: &'a str, known: &[&str]) -> Result<(Condition, &'a str), FilterError> {
    let none = || FilterError::NoCondition(text.to_owned());
    let at = text.find(['=', '!', '<', '>']).ok_or_else(none)?;
    let (sign, operator) = OPERATORS.iter().find(|(sign, _)| text[at..].starts_with(sign)).ok_or_else(none)?;
    let name = text[..at].trim();
    if name.is_empty() || name.contains([',', '"']) {
        return Err(none());
    }
    let path = Path::read("filter", name, known)?;
    let (value, rest) = value(text[at + sign.len()..].trim_start())?;
    let test = match operator {
        Operator::Match(op) => Test::Match(Matcher::new(name, *op, value)?),
        Operator::Order(orders) => Test::Order(orders, Measure::of(&value).ok_or(FilterError::NotComparable(value))?),
    };
    Ok((Condition { path, test }, rest))
}

/// Reads a value. Returns what stands behind its comma.
fn value(text: &str) -> Result<(String, &str), FilterError> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(',').unwrap_or((text, ""));
        return Ok((value.trim_end().to_owned(), rest.trim_start()));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => {
                let rest = quoted[at + 1..].trim_start();
                return match rest.strip_prefix(',') {
                    Some(rest) => Ok((value, rest.trim_start())),
                    None if rest.is_empty() => Ok((value, rest)),
                    None => Err(FilterError::AfterQuote(rest.to_owned())),
                };
            }
            // A backslash before anything else stands for itself: regular expressions are full of them.
            '\\' => match chars.clone().next() {
                Some((_, next @ ('"' | '\\'))) => {
                    chars.next();
                    value.push(next);
                }
                _ => value.push('\\'),
            },
            char => value.push(char),
        }
    }
    Err(FilterError::OpenQuote(text.to_owned()))
}

impl Condition {
    fn holds(&self, item: &Value) -> bool {
        let found = self.path.find(item).unwrap_or(&Value::Null);
        let values = match found {
            Value::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        match &self.test {
            Test::Match(matcher) => {
                let matches = |value: &Value| matcher.matches(&text_of(value));
                match matcher.op {
                    MatchOp::NotEqual | MatchOp::NotRegex => values.iter().all(matches),
                    MatchOp::Equal | MatchOp::Regex if values.is_empty() => matcher.matches(""),
                    MatchOp::Equal | MatchOp::Regex => values.iter().any(matches),
                }
            }
            Test::Order(orders, bound) => values.iter().any(|value| {
                let order = Measure::of(&text_of(value)).and_then(|value| value.compare(*bound));
                order.is_some_and(|order| orders.contains(&order))
            }),
        }
    }
}

/// A value as it is written in a filter. Of an object in a list, its name counts.
fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(object) => object.get("name").map(text_of).unwrap_or_default(),
        other => other.to_string(),
    }
}

/// What a request chooses of a list: some items, and some fields of them.
#[derive(Clone, Default, Debug)]
pub struct Choice {
    filter: Filter,
    /// Empty: everything is shown.
    fields: Vec<Path>,
}

impl Choice {
    /// Reads the parameters `filter`, as often as it is given, and `fields`, names with commas between.
    ///
    /// # Errors
    /// What is wrong with them, and where.
    pub fn new(known: &[&str], filters: &[String], fields: Option<&str>) -> Result<Self, FilterError> {
        let mut filter = Filter::default();
        for text in filters {
            filter.0.extend(Filter::parse(text, known)?.0);
        }
        if filter.0.len() > MAX_CONDITIONS {
            return Err(FilterError::Many);
        }
        let fields = fields.into_iter().flat_map(|text| text.split(',')).map(str::trim);
        let fields: Result<_, _> = fields.map(|text| Path::read("fields", text, known)).collect();
        Ok(Self { filter, fields: fields? })
    }

    /// Whether the item is wanted.
    pub fn takes(&self, item: &impl Serialize) -> bool {
        self.filter.0.is_empty() || serde_json::to_value(item).is_ok_and(|item| self.filter.takes(&item))
    }

    /// What is wanted of the item.
    pub fn show<T: Serialize>(&self, item: T) -> Shown<T> {
        if self.fields.is_empty() {
            return Shown::Whole(item);
        }
        let Ok(whole) = serde_json::to_value(&item) else { return Shown::Whole(item) };
        let mut parts = Map::new();
        for path in &self.fields {
            let value = path.find(&whole).cloned().unwrap_or(Value::Null);
            match &path.key {
                None => drop(parts.insert(path.field.clone(), value)),
                Some(key) => {
                    let object = parts.entry(path.field.clone()).or_insert_with(|| Map::new().into());
                    if let Some(object) = object.as_object_mut() {
                        object.insert(key.clone(), value);
                    }
                }
            }
        }
        Shown::Parts(parts)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KNOWN: &[&str] = &["name", "state", "rtt_ms", "since", "labels", "suspected_by", "conditions"];

    fn item() -> Value {
        json!({"name": "web-1", "state": "down", "rtt_ms": 0.4, "since": "2026-01-02T00:00:00Z",
            "labels": {"zone": "eu-1a", "app.io/name": "shop, \"old\""}, "suspected_by": ["db-1", "db-2"],
            "conditions": [{"name": "slow"}]})
    }

    fn check(filter: &str, expected: bool) {
        assert_eq!(Filter::parse(filter, KNOWN).unwrap().takes(&item()), expected, "{filter}");
    }

    #[test]
    fn filters_choose_by_any_field() {
        check("", true);
        check("state=down", true);
        check("state=down,name=web-2", false);
        check(" state != alive , name =~ web-.* ", true);
        check("name=~web", false);
        check("labels.zone=eu-1a", true);
        check("labels.zone!~\"us-.*|ap-.*\"", true);
        check("labels.rack=", true);
        check(r#"labels.app.io/name="shop, \"old\"",state=down"#, true);
        check(r#"name=~"web-\d""#, true);
        check("suspected_by=db-2", true);
        check("suspected_by!=db-2", false);
        check("suspected_by!=db-3", true);
        check("conditions=slow", true);
        check("rtt_ms<0.5,rtt_ms>=0.4", true);
        check("rtt_ms>0.4", false);
        check("since>2026-01-01T00:00:00Z", true);
        check("since<2026-01-01T00:00:00Z", false);
        check("name>0", false);
        check("since>0", false);
    }

    fn fails(filter: &str, message: &str) {
        assert_eq!(Filter::parse(filter, KNOWN).unwrap_err().to_string(), message, "{filter}");
    }

    #[test]
    fn what_is_no_filter_says_so() {
        let example = "filter: expected a condition such as state=down or labels.zone=~\"eu-.*\", found";
        fails("down", &format!("{example} \"down\""));
        fails("=down", &format!("{example} \"=down\""));
        fails("state=down,name", &format!("{example} \"name\""));
        fails("stat=down", "filter: there is no field `stat`, did you mean `state`?");
        let all = "name, state, rtt_ms, since, labels, suspected_by, conditions";
        fails(
            "zone=eu",
            &format!("filter: there is no field `zone`, expected one of {all}, or a label as labels.NAME"),
        );
        fails("name=\"a", "filter: the text that begins with \"\\\"a\" has no closing quote");
        fails("name=\"a\"b", "filter: \"b\" follows a closing quote; expected a comma");
        fails("name=~(", "filter: invalid regular expression \"(\": missing closing ): `(`");
        fails("rtt_ms<fast", "filter: \"fast\" is neither a number nor a time; < and > compare nothing else");
        fails(&"name=a,".repeat(17), "filter: more than 16 conditions");
    }

    #[test]
    fn fields_are_all_that_is_shown() {
        let shown = |fields: &str| serde_json::to_value(Choice::new(KNOWN, &[], Some(fields)).unwrap().show(item()));
        assert_eq!(shown("name, state").unwrap(), json!({"name": "web-1", "state": "down"}));
        assert_eq!(shown("labels.zone,labels.rack").unwrap(), json!({"labels": {"zone": "eu-1a", "rack": null}}));
        assert_eq!(serde_json::to_value(Choice::default().show(item())).unwrap(), item());
        let error = Choice::new(KNOWN, &[], Some("nam")).unwrap_err().to_string();
        assert_eq!(error, "fields: there is no field `nam`, did you mean `name`?");
    }
}
