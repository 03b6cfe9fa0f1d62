//! Matchers as they are typed: `alertname=NodeDown`, `instance=~"web-.*"`, or a bare word for the alert's name.

use serde_json::{Value, json};
use watchfire_shared::labels::Labels;
use watchfire_shared::matcher::{MatchOp, Matcher};

use crate::Failure;

/// Longer operators first, for they begin like shorter ones.
const OPERATORS: [(&str, MatchOp); 4] =
    [("=~", MatchOp::Regex), ("!~", MatchOp::NotRegex), ("!=", MatchOp::NotEqual), ("=", MatchOp::Equal)];

/// Reads the matchers of a command line.
pub(crate) fn parse(words: &[String]) -> Result<Vec<Matcher>, Failure> {
    words.iter().enumerate().map(|(at, word)| one(at == 0, word).map_err(Failure::Usage)).collect()
}

fn one(first: bool, word: &str) -> Result<Matcher, String> {
    let operator = word.char_indices().find_map(|(at, _)| {
        let found = OPERATORS.iter().find(|(sign, _)| word[at..].starts_with(sign))?;
        Some((at, found))
    });
    let Some((at, (sign, op))) = operator else {
        return match first && !word.is_empty() {
            true => Ok(Matcher::equal("alertname", word)),
            false => Err(format!("{word:?} is no matcher: expected NAME=VALUE, with one of = != =~ !~")),
        };
    };
    let (name, value) = (word[..at].trim(), word[at + sign.len()..].trim());
    if name.is_empty() {
        return Err(format!("{word:?} is no matcher: there is no label name before {sign:?}"));
    }
    let unquoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    Matcher::new(name, *op, unquoted).map_err(|error| error.to_string())
}

/// Whether all of them match a JSON object of labels.
pub(crate) fn matches(matchers: &[Matcher], labels: &Value) -> bool {
    let pairs = labels.as_object().into_iter().flatten();
    let labels: Labels = pairs.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default())).collect();
    matchers.iter().all(|matcher| matcher.matches_labels(&labels))
}

/// As Alertmanager's API writes a matcher.
pub(crate) fn shape(matcher: &Matcher) -> Value {
    json!({
        "name": matcher.name,
        "value": matcher.value,
        "isRegex": matches!(matcher.op, MatchOp::Regex | MatchOp::NotRegex),
        "isEqual": matches!(matcher.op, MatchOp::Equal | MatchOp::Regex),
    })
}

/// A matcher of the API; `None` if it is none.
pub(crate) fn read(shape: &Value) -> Option<Matcher> {
    let op = match (shape["isEqual"].as_bool().unwrap_or(true), shape["isRegex"].as_bool()?) {
        (true, false) => MatchOp::Equal,
        (false, false) => MatchOp::NotEqual,
        (true, true) => MatchOp::Regex,
        (false, true) => MatchOp::NotRegex,
    };
    Matcher::new(shape["name"].as_str()?, op, shape["value"].as_str()?).ok()
}

/// A matcher of the API as it is typed.
pub(crate) fn shown(shape: &Value) -> String {
    read(shape).map_or_else(|| shape.to_string(), |matcher| matcher.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], expected: Result<&str, &str>) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let parsed = parse(&words).map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
        assert_eq!(parsed.as_deref().map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn matchers_are_read_as_people_type_them() {
        check(&["NodeDown", "instance=~web-.*"], Ok("alertname=\"NodeDown\",instance=~\"web-.*\""));
        check(&["a!=b", "c!~d", "e=\"f=g\"", "h="], Ok("a!=\"b\",c!~\"d\",e=\"f=g\",h=\"\""));
        check(&["a=b", "c"], Err("\"c\" is no matcher: expected NAME=VALUE, with one of = != =~ !~"));
        check(&["=b"], Err("\"=b\" is no matcher: there is no label name before \"=\""));
        check(&["a=~("], Err("invalid regular expression \"(\": missing closing ): `(`"));
    }

    #[test]
    fn a_matcher_goes_to_the_api_and_back() {
        for text in ["a=b", "a!=b", "a=~b", "a!~b"] {
            let matcher = one(false, text).unwrap();
            assert_eq!(shown(&shape(&matcher)), matcher.to_string());
            assert_eq!(read(&shape(&matcher)), Some(matcher));
        }
    }
}
