//! How remediations, orders and simulations are shown as tables.

use serde_json::Value;

use super::word;
use crate::output::{Cell, Page, Table, Tone, counted, items, labels, text};

/// One row for each alert of a remediation, and one for each remediation without any.
pub(super) fn list(list: Value) -> Page {
    let remediations = items(&list, "/items");
    let mut rows: Vec<[Cell; 6]> = Vec::new();
    for remediation in remediations {
        let cases = items(remediation, "/cases");
        let paused = text(remediation, "/paused/by");
        if cases.is_empty() {
            let why = if paused.is_empty() { String::new() } else { format!("paused by {paused}") };
            rows.push(row(remediation, "idle", "", "", why));
        }
        for case in cases {
            let why = reasons(case);
            rows.push(row(remediation, text(case, "/state"), node(case), text(case, "/since"), why));
        }
    }
    let count = |state: &str| {
        let cases = remediations.iter().flat_map(|own| items(own, "/cases"));
        cases.filter(|case| text(case, "/state") == state).count()
    };
    let states = ["ordered", "awaiting_approval", "blocked", "exhausted"];
    let counts: Vec<String> =
        states.iter().filter(|state| count(state) > 0).map(|state| format!("{} {state}", count(state))).collect();
    let colon = if counts.is_empty() { "" } else { ": " };
    let notes = vec![format!("{}{colon}{}", counted(remediations.len(), "remediation"), counts.join(", "))];
    let table = Table::new(["REMEDIATION", "MODE", "STATE", "NODE", "SINCE", "WHY"], rows);
    Page { table, notes, value: list }
}

fn row(remediation: &Value, state: &str, node: &str, since: &str, why: String) -> [Cell; 6] {
    let name = text(remediation, "/name");
    [
        name.into(),
        text(remediation, "/mode").into(),
        Cell::new(state, tone(state)),
        node.into(),
        since.into(),
        why.into(),
    ]
}

/// What one remediation did and did not, the newest first.
pub(super) fn one(remediation: Value) -> Page {
    let mut rows: Vec<(String, [Cell; 5])> = Vec::new();
    let mut add = |at: &str, what: String, node: &str, state: &str, why: String| {
        rows.push((at.to_owned(), [at.into(), what.into(), node.into(), Cell::new(state, tone(state)), why.into()]));
    };
    for case in items(&remediation, "/cases") {
        add(text(case, "/since"), "now".to_owned(), node(case), text(case, "/state"), reasons(case));
    }
    for attempt in items(&remediation, "/attempts") {
        let what = format!("attempt {}", text(attempt, "/id"));
        for change in items(attempt, "/history") {
            let (at, state, why) = (text(change, "/at"), text(change, "/state"), text(change, "/detail").to_owned());
            add(at, what.clone(), text(attempt, "/node"), state, why);
        }
    }
    for decision in items(&remediation, "/decisions") {
        let (at, state) = (text(decision, "/at"), text(decision, "/state"));
        add(at, "decision".to_owned(), text(decision, "/instance"), state, reasons(decision));
    }
    rows.sort_by(|left, right| right.0.cmp(&left.0));
    let steps: Vec<String> = items(&remediation, "/steps").iter().map(step).collect();
    let mut notes = vec![format!(
        "{}: {} on alert {} -> {}",
        text(&remediation, "/name"),
        text(&remediation, "/mode"),
        text(&remediation, "/when/alert"),
        steps.join(" -> ")
    )];
    if let Some(by) = remediation.pointer("/paused/by").and_then(Value::as_str) {
        notes.push(format!("paused by {by} since {}", text(&remediation, "/paused/since")));
    }
    let table = Table::new(["AT", "WHAT", "NODE", "STATE", "WHY"], rows.into_iter().map(|(_, row)| row));
    Page { table, notes, value: remediation }
}

fn step(step: &Value) -> String {
    match text(step, "/escalate") {
        "" => format!("{} on {}", text(step, "/action"), text(step, "/on")),
        receiver => format!("tell {receiver}"),
    }
}

/// Orders as they are listed, the newest first.
pub(super) fn orders(list: Value) -> Page {
    let row = |order: &Value| -> [Cell; 7] {
        let state = text(order, "/state");
        [
            text(order, "/id").into(),
            text(order, "/remediation").into(),
            text(order, "/node").into(),
            text(order, "/action").into(),
            Cell::new(state, tone(state)),
            text(order, "/issued_at").into(),
            text(order, "/detail").into(),
        ]
    };
    let orders = items(&list, "/items");
    let table =
        Table::new(["ID", "REMEDIATION", "NODE", "ACTION", "STATE", "ISSUED", "DETAIL"], orders.iter().map(row));
    let notes = vec![counted(orders.len(), "order")];
    Page { table, notes, value: list }
}

/// What would be ordered, or each reason why nothing would.
pub(super) fn simulation(answer: Value) -> Page {
    let node = text(&answer, "/node");
    let orders = items(&answer, "/orders").iter();
    let mut rows: Vec<[Cell; 4]> = Vec::new();
    if answer["would_act"].as_bool().unwrap_or_default() {
        rows.extend(orders.map(|order| {
            let what = format!("{} {}", text(order, "/action"), labels(&order["params"], &[]));
            [Cell::new("would run", Tone::Good), text(order, "/node").into(), what.trim().to_owned().into(), "".into()]
        }));
    } else {
        let actions: Vec<String> = orders.map(|order| text(order, "/action").to_owned()).collect();
        rows.extend(items(&answer, "/reasons").iter().map(|reason| {
            [Cell::new("not run", Tone::Warning), node.into(), actions.join(", ").into(), word(reason).into()]
        }));
    }
    let mode = text(&answer, "/mode");
    let note = match mode {
        "auto" => Vec::new(),
        "approve" => vec!["its mode is approve: a person would be asked first".to_owned()],
        mode => vec![format!("its mode is {mode}: nothing is ordered whatever the guards say")],
    };
    let table = Table::new(["ANSWER", "NODE", "ACTION", "WHY"], rows);
    Page { table, notes: note, value: answer }
}

fn node(case: &Value) -> &str {
    text(case, "/alert/instance")
}

fn reasons(value: &Value) -> String {
    let reasons: Vec<String> = items(value, "/reasons").iter().map(word).collect();
    reasons.join("; ")
}

fn tone(state: &str) -> Tone {
    match state {
        "succeeded" => Tone::Good,
        "blocked" | "cooldown" | "awaiting_approval" | "interrupted" | "expired" => Tone::Warning,
        "failed" | "exhausted" | "escalated" | "timed_out" | "unknown" | "refused" => Tone::Bad,
        _ => Tone::Plain,
    }
}
