//! The commands of a script.

use watchfire_shared::labels::{Labels, Quoted};
use watchfire_shared::time::{Span, Timestamp};

use super::series;
use crate::lexer::unquote;
use crate::number::{parse_number, span_of_seconds};

/// One command.
pub(super) enum Command {
    Clear,
    /// Series lines with their line numbers.
    Load {
        step: Span,
        series: Vec<(usize, String)>,
    },
    Eval(Case),
}

/// When to evaluate.
#[derive(Debug, Clone, Copy)]
pub(super) enum Query {
    Instant { at: Timestamp },
    Range { start: Timestamp, end: Timestamp, step: Span },
}

/// What a text should be.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    Anything,
    Message(String),
    Regex(String),
}

/// The value that is expected.
#[derive(Debug, Clone)]
pub(super) enum Expected {
    /// Series with their points in the order of the lines.
    Series(Vec<(Labels, Vec<Option<f64>>)>),
    Number(f64),
    Text(String),
}

/// One `eval` command.
pub(super) struct Case {
    pub query: Query,
    pub expression: String,
    pub fails: Option<Wanted>,
    pub warnings: Vec<Wanted>,
    pub infos: Vec<Wanted>,
    pub no_warnings: bool,
    pub no_infos: bool,
    pub ordered: bool,
    /// The times of a range vector's samples: start and step.
    pub range_vector: Option<(Timestamp, Span)>,
    pub expected: Expected,
}

/// Splits a script into commands, each with its line number. A command ends at an empty line or a comment.
pub(super) fn commands(text: &str) -> Vec<(usize, Result<Command, String>)> {
    let lines: Vec<&str> =
        text.lines().map(str::trim).map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let first = at;
        at += 1;
        if lines[first].is_empty() {
            continue;
        }
        let word = lines[first].split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        if word == "clear" {
            commands.push((first + 1, Ok(Command::Clear)));
            continue;
        }
        let block = lines[at..].iter().take_while(|line| !line.is_empty()).count();
        let body: Vec<(usize, &str)> = (at..at + block).map(|line| (line + 1, lines[line])).collect();
        at += block;
        let command = match word.as_str() {
            "load" | "load_with_nhcb" => load(lines[first], &body),
            word if word.starts_with("eval") => eval(lines[first], &body).map(Command::Eval),
            _ => Err(format!("unknown command {}, expected load, clear or eval", Quoted(&word))),
        };
        commands.push((first + 1, command));
    }
    commands
}

fn load(line: &str, body: &[(usize, &str)]) -> Result<Command, String> {
    let step = line.split_whitespace().nth(1).and_then(span).ok_or("expected load <step>, such as load 5m")?;
    let series = body.iter().map(|(line, text)| (*line, (*text).to_owned())).collect();
    Ok(Command::Load { step, series })
}

/// A length or point of time: a duration or a number of seconds, either with a sign.
fn span(text: &str) -> Option<Span> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let span = Span::parse(digits).ok().or_else(|| parse_number(digits).and_then(span_of_seconds))?;
    Some(if negative { span * -1 } else { span })
}

fn time(text: &str) -> Option<Timestamp> {
    span(text).map(|span| Timestamp::EPOCH + span)
}

/// The next word and what follows it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// Takes a keyword and the word after it.
fn after<'t>(text: &'t str, keyword: &str) -> Option<(&'t str, &'t str)> {
    let (first, rest) = word(text);
    first.eq_ignore_ascii_case(keyword).then(|| word(rest))
}

fn eval(line: &str, body: &[(usize, &str)]) -> Result<Case, String> {
    let (command, rest) = word(line);
    let (query, expression) = query(rest).ok_or(
        "expected eval instant at <time> <query>, or eval range from <time> to <time> step <duration> <query>",
    )?;
    let mut case = Case {
        query,
        expression: expression.to_owned(),
        fails: None,
        warnings: Vec::new(),
        infos: Vec::new(),
        no_warnings: false,
        no_infos: false,
        ordered: false,
        range_vector: None,
        expected: Expected::Series(Vec::new()),
    };
    match command.to_ascii_lowercase().as_str() {
        "eval" => {}
        "eval_fail" => case.fails = Some(Wanted::Anything),
        "eval_warn" => case.warnings.push(Wanted::Anything),
        "eval_info" => case.infos.push(Wanted::Anything),
        "eval_ordered" => case.ordered = true,
        _ => return Err(format!("unknown command {}", Quoted(command))),
    }
    for (_, line) in body {
        expectation(&mut case, line)?;
    }
    Ok(case)
}

fn query(text: &str) -> Option<(Query, &str)> {
    let (kind, rest) = word(text);
    if kind.eq_ignore_ascii_case("instant") {
        let (at, expression) = after(rest, "at")?;
        return Some((Query::Instant { at: time(at)? }, expression)).filter(|_| !expression.is_empty());
    }
    let (start, end, step, expression) = interval(rest)?;
    let range = kind.eq_ignore_ascii_case("range") && !expression.is_empty();
    range.then_some((Query::Range { start, end, step }, expression))
}

/// `from <time> to <time> step <duration>` and what follows.
fn interval(text: &str) -> Option<(Timestamp, Timestamp, Span, &str)> {
    let (start, rest) = after(text, "from")?;
    let (end, rest) = after(rest, "to")?;
    let (step, rest) = after(rest, "step")?;
    Some((time(start)?, time(end)?, span(step)?, rest))
}

fn expectation(case: &mut Case, line: &str) -> Result<(), String> {
    let (first, rest) = word(line);
    match first {
        "expect" => return expect(case, rest),
        "expected_fail_message" => case.fails = Some(Wanted::Message(rest.to_owned())),
        "expected_fail_regexp" => case.fails = Some(Wanted::Regex(rest.to_owned())),
        _ if rest.is_empty() && parse_number(line).is_some() => {
            case.expected = Expected::Number(parse_number(line).unwrap_or(f64::NAN));
        }
        _ => {
            let series = series::parse_series(line).map_err(|error| error.to_string())?;
            match &mut case.expected {
                Expected::Series(all) => all.push(series),
                _ => return Err("expected either a number or series".to_owned()),
            }
        }
    }
    Ok(())
}

fn expect(case: &mut Case, text: &str) -> Result<(), String> {
    let (kind, rest) = word(text);
    match kind {
        "fail" => case.fails = Some(wanted(rest)?),
        "warn" => case.warnings.push(wanted(rest)?),
        "info" => case.infos.push(wanted(rest)?),
        "no_warn" => case.no_warnings = true,
        "no_info" => case.no_infos = true,
        "ordered" => case.ordered = true,
        "string" => case.expected = Expected::Text(text_of(rest)?),
        "range" => {
            let (start, _, step, _) = after(text, "range")
                .and_then(|(vector, rest)| interval(rest).filter(|_| vector == "vector"))
                .ok_or("expected range vector from <time> to <time> step <duration>")?;
            case.range_vector = Some((start, step));
        }
        _ => return Err(format!("unknown expectation {}", Quoted(kind))),
    }
    Ok(())
}

fn text_of(quoted: &str) -> Result<String, String> {
    let mark = quoted.chars().next().filter(|mark| matches!(mark, '"' | '\'' | '`'));
    let closed = quoted.len() > 1 && mark.is_some_and(|mark| quoted.ends_with(mark));
    if closed { unquote(quoted) } else { Err(format!("expected a quoted string, found {quoted}")) }
}

fn wanted(text: &str) -> Result<Wanted, String> {
    if text.is_empty() {
        return Ok(Wanted::Anything);
    }
    if let Some(message) = text.strip_prefix("msg:") {
        return Ok(Wanted::Message(message.trim().to_owned()));
    }
    let regex = text.strip_prefix("regex:").ok_or("expected msg: or regex:")?;
    Ok(Wanted::Regex(regex.trim().to_owned()))
}
