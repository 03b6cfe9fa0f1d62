//! Files of actions: TOML, every mistake with its place.

use std::collections::BTreeMap;

use watchfire_shared::document::{
    self, Key, Mistake, Node, Position, Report, Table, boolean, integer, nearest, span, text, text_list, word,
};
use watchfire_shared::limits::MAX_ACTIONS;
use watchfire_shared::matcher::{MatchOp, Matcher};
use watchfire_shared::time::Span;

use super::{Action, Param, Slot, Verify};

/// The longest that an action or its verification may take.
const MAX_TIMEOUT: Span = Span::from_seconds(15 * 60);
/// Accepted within an hour unless the file says otherwise.
const DEFAULT_MAX_PER_HOUR: i64 = 3;
/// The most that a file may say. More often is no repair; and the journal keeps an hour's orders.
const MAX_PER_HOUR: i64 = 20;
/// Between two orders of an action, unless the file says otherwise.
const DEFAULT_COOLDOWN: Span = Span::from_seconds(5 * 60);
/// Tries of a verification.
const MAX_RETRIES: i64 = 100;
/// Arguments of a command.
const MAX_ARGUMENTS: usize = 64;

/// What an action does, for those who read of it.
const KINDS: &[(&str, &str)] = &[
    ("restart", "restart"),
    ("switch", "switch"),
    ("fence", "fence"),
    ("fence-self", "fence-self"),
    ("promote", "promote"),
    ("demote", "demote"),
    ("render", "render"),
    ("backup", "backup"),
    ("restore", "restore"),
    ("diagnose", "diagnose"),
];

/// Programs that run what their arguments say. A parameter among these would be a program of whoever gives the order.
const INTERPRETERS: &[&str] = &[
    "sh",
    "bash",
    "dash",
    "ash",
    "zsh",
    "ksh",
    "mksh",
    "fish",
    "csh",
    "tcsh",
    "busybox",
    "toybox",
    "python",
    "pypy",
    "perl",
    "ruby",
    "node",
    "nodejs",
    "deno",
    "bun",
    "lua",
    "php",
    "tclsh",
    "awk",
    "gawk",
    "mawk",
    "env",
    "xargs",
    "find",
    "nice",
    "nohup",
    "timeout",
    "setsid",
    "sudo",
    "su",
    "doas",
    "runuser",
    "pkexec",
    "chroot",
    "nsenter",
    "unshare",
    "ssh",
    "docker",
    "podman",
    "nerdctl",
    "kubectl",
    "npx",
    "npm",
    "uvx",
    "pipx",
    "systemd-run",
    "watch",
    "script",
    "expect",
];

/// Reads the actions of one file.
///
/// # Errors
/// Every mistake, in the order of the file.
pub fn parse(file: &str, content: &str) -> Result<Vec<Action>, Vec<Mistake>> {
    let mut report = Report::new(file);
    let Some(root) = document::toml::parse(content, &mut report) else { return report.finish(None) };
    let actions = read_root(&root, &mut report);
    report.finish(actions)
}

fn read_root(root: &Node, report: &mut Report) -> Option<Vec<Action>> {
    let mut table = Table::of(root, report)?;
    let node = table.required(report, "action", |node, _| Some(node));
    table.finish(report);
    let actions = Table::of(node?, report)?;
    if actions.entries().len() > MAX_ACTIONS {
        report.add_whole(format!("{} actions are more than {MAX_ACTIONS}", actions.entries().len()));
    }
    Some(actions.entries().iter().filter_map(|(key, node)| action(key, node, report)).collect())
}

fn action(key: &Key, node: &Node, report: &mut Report) -> Option<Action> {
    if !is_name(&key.name) {
        report.add(key.at, format!("{:?} is no name: it has a-z, 0-9 and -, 1 to 64 of them", key.name));
    }
    let mut table = Table::of(node, report)?;
    let params = table.optional(report, "params", params).unwrap_or_default();
    let allow_interpreter = table.optional(report, "allow_interpreter", boolean).unwrap_or_default();
    let command = |node: &Node, report: &mut Report| command(node, &params, allow_interpreter, report);
    let exec_at = table.entry("exec").map_or(key.at, |(_, node)| node.at);
    let exec = table.required(report, "exec", command);
    let verify = table.optional(report, "verify", |node, report| verify(node, report, &command));
    let kind = table.required(report, "kind", word(KINDS));
    let idempotent = table.required(report, "idempotent", boolean);
    let timeout = table.required(report, "timeout", timeout);
    let max_per_hour = table.optional(report, "max_per_hour", integer(1, MAX_PER_HOUR));
    let cooldown = table.optional(report, "cooldown", span);
    let sha256 = table.optional(report, "sha256", sha256);
    if let Some(node) = table.node("user") {
        let message = "actions run as the agent's own user; there is no privileged helper that could take another";
        report.add(node.at, message);
    }
    table.finish(report);
    let slots = exec.iter().flatten().chain(verify.iter().flat_map(|verify| &verify.exec));
    let used: Vec<&str> =
        slots.filter_map(|slot| if let Slot::Param(name) = slot { Some(&**name) } else { None }).collect();
    for name in params.keys().filter(|name| !used.contains(&name.as_str())) {
        report.add(key.at, format!("the parameter `{name}` is used by no argument"));
    }
    Some(Action {
        name: key.name.clone(),
        exec: exec?,
        exec_at,
        kind: kind?.to_owned(),
        idempotent: idempotent?,
        timeout: timeout?,
        verify,
        max_per_hour: u32::try_from(max_per_hour.unwrap_or(DEFAULT_MAX_PER_HOUR)).unwrap_or(1),
        cooldown: cooldown.unwrap_or(DEFAULT_COOLDOWN),
        params,
        sha256,
        digest: String::new(),
    })
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('-')
}

fn is_param_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

fn timeout(node: &Node, report: &mut Report) -> Option<Span> {
    let timeout = span(node, report)?;
    if timeout.is_positive() && timeout <= MAX_TIMEOUT {
        return Some(timeout);
    }
    report.add(node.at, format!("{timeout} is not above 0s and at most {MAX_TIMEOUT}"));
    None
}

fn sha256(node: &Node, report: &mut Report) -> Option<String> {
    let digest = text(node, report)?.to_ascii_lowercase();
    if digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(digest);
    }
    report.add(node.at, "expected the 64 hexadecimal digits of a SHA-256");
    None
}

fn verify(
    node: &Node,
    report: &mut Report,
    command: &impl Fn(&Node, &mut Report) -> Option<Vec<Slot>>,
) -> Option<Verify> {
    let mut table = Table::of(node, report)?;
    let exec = table.required(report, "exec", command);
    let retries = table.optional(report, "retries", integer(1, MAX_RETRIES)).unwrap_or(1);
    let interval = table.optional(report, "interval", span).unwrap_or(Span::from_seconds(1));
    let deadline = table.required(report, "deadline", timeout);
    table.finish(report);
    Some(Verify { exec: exec?, retries: u32::try_from(retries).unwrap_or(1), interval, deadline: deadline? })
}

fn params(node: &Node, report: &mut Report) -> Option<BTreeMap<String, Param>> {
    let table = Table::of(node, report)?;
    let mut params = BTreeMap::new();
    for (key, node) in table.entries() {
        if !is_param_name(&key.name) {
            report.add(key.at, format!("{:?} is no name of a parameter: it has a-z, 0-9 and _", key.name));
        }
        if let Some(param) = param(key, node, report) {
            params.insert(key.name.clone(), param);
        }
    }
    Some(params)
}

fn param(key: &Key, node: &Node, report: &mut Report) -> Option<Param> {
    let mut table = Table::of(node, report)?;
    let pattern = table.optional(report, "pattern", |node, report| {
        let pattern = text(node, report)?;
        let matcher = Matcher::new(key.name.clone(), MatchOp::Regex, pattern);
        matcher.map_err(|error| report.add(node.at, error.to_string())).ok()
    });
    let allowed = table.optional(report, "enum", text_list);
    let says_nothing = table.entry("pattern").is_none() && table.entry("enum").is_none();
    table.finish(report);
    if says_nothing {
        report.add(
            key.at,
            format!("the parameter `{}` has neither `pattern` nor `enum`: anything could be given", key.name),
        );
    }
    Some(Param { pattern, allowed })
}

fn command(
    node: &Node,
    params: &BTreeMap<String, Param>,
    allow_interpreter: bool,
    report: &mut Report,
) -> Option<Vec<Slot>> {
    let words = text_list(node, report)?;
    let at = |index: usize| match &node.value {
        document::Value::List(items) => items.get(index).map_or(node.at, |item| item.at),
        _ => node.at,
    };
    if words.is_empty() || words.len() > MAX_ARGUMENTS {
        report.add(node.at, format!("a command has 1 to {MAX_ARGUMENTS} words"));
        return None;
    }
    let slots: Vec<Slot> =
        words.iter().enumerate().filter_map(|(index, word)| slot(word, at(index), params, report)).collect();
    if !is_plain_path(&words[0]) {
        report.add(at(0), format!("{:?} is no absolute path without `.` and `..`", words[0]));
    }
    let takes_params = slots.iter().any(|slot| matches!(slot, Slot::Param(_)));
    if let Some(interpreter) = interpreter(&words[0]).filter(|_| takes_params && !allow_interpreter) {
        let message = format!(
            "{interpreter} runs what its arguments say, so a parameter would be a program; \
             set allow_interpreter = true if that is meant"
        );
        report.add(at(0), message);
    }
    (slots.len() == words.len()).then_some(slots)
}

fn is_plain_path(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")))
}

/// The interpreter that a path names, whatever its version.
fn interpreter(path: &str) -> Option<&'static str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let bare = name.trim_end_matches(|char: char| char.is_ascii_digit() || matches!(char, '.' | '-'));
    INTERPRETERS.iter().copied().find(|own| *own == name || *own == bare)
}

/// One argument: `{name}` is a parameter, and braces around a parameter's name inside of something are a mistake.
fn slot(word: &str, at: Position, params: &BTreeMap<String, Param>, report: &mut Report) -> Option<Slot> {
    if word.chars().any(char::is_control) {
        report.add(at, "a word of a command has no control characters");
        return None;
    }
    let whole = word.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).filter(|name| is_param_name(name));
    if let Some(name) = whole {
        if params.contains_key(name) {
            return Some(Slot::Param(name.to_owned()));
        }
        let hint = nearest(name, params.keys().map(String::as_str));
        let hint = hint.map(|hint| format!(", did you mean `{{{hint}}}`?")).unwrap_or_default();
        report.add(at, format!("there is no parameter `{name}`{hint}"));
        return None;
    }
    if let Some(name) = params.keys().find(|name| word.contains(&format!("{{{name}}}"))) {
        report.add(at, format!("`{{{name}}}` has to be a whole argument, not a part of {word:?}"));
        return None;
    }
    Some(Slot::Literal(word.to_owned()))
}
