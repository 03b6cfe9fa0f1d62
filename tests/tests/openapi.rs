//! The documents at `/v1/openapi.json`: they are the golden ones, they name every route that exists and no other, and what
//! real processes answer has the shapes that they promise.
//!
//! `WATCHFIRE_BLESS=1` writes the golden documents anew; what changed of the contract is then in the diff to be judged.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests are shells")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use watchfire_shell::http::openapi::Document;
use watchfire_tests::house::{House, Setup, project};

/// Generous: a loaded machine must not fail a test that a quiet one passes in a few seconds.
const SOON: Duration = Duration::from_secs(60);

fn check_golden(document: &Document, name: &str) {
    let file = project().join("packaging/openapi").join(name);
    let text = format!("{:#}\n", document.json());
    if std::env::var_os("WATCHFIRE_BLESS").is_some() {
        std::fs::create_dir_all(file.parent().expect("it lies in a folder")).expect("the folder can be made");
        std::fs::write(&file, &text).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(golden == text, "{name} differs from what the tables say: WATCHFIRE_BLESS=1 writes it, judge the diff");
}

#[test]
fn the_documents_are_the_golden_ones() {
    check_golden(&watchfire_collector::OPENAPI, "collector.json");
    check_golden(&watchfire_agent::OPENAPI, "agent.json");
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    for document in [watchfire_collector::OPENAPI, watchfire_agent::OPENAPI] {
        let json = document.json();
        let text = json.to_string();
        let schemas = json["components"]["schemas"].as_object().expect("there are schemas");
        let used: BTreeSet<&str> =
            text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let known: BTreeSet<&str> = schemas.keys().map(String::as_str).collect();
        assert_eq!(used, known, "{}", document.title);
    }
}

/// Paths that routers are given in the sources of a folder or file.
fn routes_in(place: &Path, paths: &mut BTreeSet<String>) {
    if place.is_dir() {
        for entry in std::fs::read_dir(place).expect("the folder is there").flatten() {
            routes_in(&entry.path(), paths);
        }
        return;
    }
    let text = std::fs::read_to_string(place).expect("sources are text");
    let product = text.split("#[cfg(test)]").next().unwrap_or_default();
    for call in product.split(".route(").skip(1) {
        let path = call.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
        paths.extend(path.map(str::to_owned));
    }
}

fn sources(places: &[&str]) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for place in places {
        let found = paths.len();
        routes_in(&project().join(place), &mut paths);
        assert!(paths.len() > found, "{place} has no routes");
    }
    paths
}

#[test]
fn every_route_stands_in_a_table() {
    let shared = ["shared/shell/src/http.rs", "shared/shell/src/http/discovery.rs", "shared/shell/src/http/openapi.rs"];
    for (document, own) in [
        (watchfire_collector::OPENAPI, &["collector/src/http.rs", "collector/src/http/alertmanager.rs"][..]),
        (watchfire_agent::OPENAPI, &["agent/src/http.rs"][..]),
    ] {
        let documented: BTreeSet<String> = document.operations().map(|own| own.path.to_owned()).collect();
        let routes = sources(&[own, &shared[..]].concat());
        assert_eq!(routes, documented, "{}: what is missing on the right is added to its table", document.title);
    }
}

/// Methods that a real process has at a path, by its own word.
async fn methods_at(http: &reqwest::Client, url: &str) -> Option<BTreeSet<String>> {
    let response = http.request(reqwest::Method::TRACE, url).send().await.ok()?;
    let allowed = response.headers().get("allow")?.to_str().ok()?;
    let methods = allowed.split(',').map(|method| method.trim().to_ascii_lowercase());
    Some(methods.filter(|method| method != "head").collect())
}

async fn check_methods(house: &House, node: &str, document: &Document) {
    let mut documented: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for operation in document.operations() {
        documented.entry(operation.path).or_default().insert(operation.method.to_owned());
    }
    let http = reqwest::Client::builder().no_proxy().build().expect("the client has no options that can fail");
    for (path, methods) in documented {
        let url = format!("http://{}{}", house.node(node).http, path.replace(['{', '}'], ""));
        assert_eq!(methods_at(&http, &url).await, Some(methods), "{path} of {node}");
    }
}

/// Compares a value with a schema of a document; every member of an object has to be named there.
fn check_value(document: &Value, schema: &Value, value: &Value, place: &str, mistakes: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/components/schemas/")) {
        return check_value(document, &document["components"]["schemas"][name], value, place, mistakes);
    }
    if let Some(kinds) = schema["oneOf"].as_array() {
        if !value.is_null() {
            check_value(document, &kinds[0], value, place, mistakes);
        }
        return;
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let takes = |own: &Value| own == kind || (own == "number" && kind == "integer");
    let fits = match &schema["type"] {
        Value::Null => return,
        Value::Array(kinds) => kinds.iter().any(takes),
        own => takes(own),
    };
    let words = schema["enum"].as_array();
    if !fits || words.is_some_and(|words| !words.contains(value)) {
        return mistakes.push(format!("{place}: {value} is not {schema}"));
    }
    if let Some(items) = value.as_array() {
        for (at, item) in items.iter().enumerate() {
            check_value(document, &schema["items"], item, &format!("{place}[{at}]"), mistakes);
        }
    }
    let Some(members) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            mistakes.push(format!("{place}: {name} is missing"));
        }
    }
    for (name, member) in members {
        let own = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
        match own {
            Some(own) => check_value(document, own, member, &format!("{place}.{name}"), mistakes),
            None => mistakes.push(format!("{place}: {name} is not in the document")),
        }
    }
}

/// Asks for everything that can be read without a parameter in its path, and compares the answers.
async fn check_answers(house: &House, node: &str, document: &Document) {
    let json = house.get(node, "/v1/openapi.json").await.expect("the document is served");
    assert_eq!(json, document.json());
    let (mut mistakes, mut items) = (Vec::new(), BTreeMap::new());
    for operation in document.operations().filter(|own| own.method == "get" && !own.is_foreign) {
        let schema = &json["paths"][operation.path]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        let path =
            operation.path.replace("{name}", if operation.path.contains("remediations") { "mark" } else { "web-1" });
        if schema.is_null() {
            continue;
        }
        let path = if path.ends_with("simulate") { format!("{path}?node=web-1") } else { path };
        let value = house.get(node, &path).await.unwrap_or_else(|| panic!("{node} does not answer {path}"));
        check_value(&json, schema, &value, &path, &mut mistakes);
        items.insert(path, value["items"].as_array().map_or(1, Vec::len));
    }
    assert!(mistakes.is_empty(), "{node}:\n{}", mistakes.join("\n"));
    // Gossip on loopback has no keys.
    let empty: Vec<_> = items.iter().filter(|(path, items)| **items == 0 && *path != "/v1/keys").collect();
    assert!(empty.is_empty(), "nothing was compared of {empty:?}");
}

fn write(path: &Path, text: &str) -> PathBuf {
    std::fs::write(path, text).expect("the temporary folder is ours");
    path.to_owned()
}

/// A collector and an agent that was ordered to do something, so that every list holds something.
async fn busy_house(rules: &Path) -> House {
    let text = "groups:\n  - name: test\n    rules:\n      - alert: Seen\n        expr: up{job=\"node\"} == 1\n";
    write(&rules.join("rules.yml"), text);
    let setup = Setup { rules: rules.join("*.yml"), rule_interval: "1s", ..Setup::default() };
    let mut house = House::new(env!("CARGO_BIN_EXE_multicall"), setup).await;
    let text = "remediations:\n  - name: mark\n    when: { alert: Seen }\n    mode: auto\n    \
                steps: [{ action: mark, wait: 2m }, { escalate: sink }]\n    guards: { settle: 0s }\n";
    let file = write(&house.folder().join("remediations.yml"), text);
    house.extra.insert("watch".to_owned(), format!("[remediation]\nfiles = [{file:?}]\n"));
    let actions = house.folder().join("actions.d");
    std::fs::create_dir(&actions).expect("the temporary folder is ours");
    let text = "[action.mark]\nexec = [\"/bin/true\"]\nkind = \"diagnose\"\nidempotent = true\ntimeout = \"20s\"\n";
    write(&actions.join("mark.toml"), text);
    let key = house.folder().join("watch/data/order.pub");
    house.extra.insert("web-1".to_owned(), format!("[actions]\ndir = {actions:?}\ncollector_key_file = {key:?}\n"));
    house.add_collector("watch", &[]);
    house.wait("the collector has made its key", SOON, async || key.exists().then_some(())).await;
    let join = [house.node("watch").gossip];
    house.add_agent("web-1", &join);
    house
        .wait("an order ended", SOON, async || {
            let orders = house.get("watch", "/v1/orders").await?;
            (orders["items"][0]["state"] == "succeeded").then_some(())
        })
        .await;
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn what_real_processes_answer_is_what_the_documents_say() {
    let rules = tempfile::tempdir().expect("a temporary folder can be made");
    let house = busy_house(rules.path()).await;
    for (node, document) in [("watch", watchfire_collector::OPENAPI), ("web-1", watchfire_agent::OPENAPI)] {
        check_methods(&house, node, &document).await;
        check_answers(&house, node, &document).await;
    }
}
