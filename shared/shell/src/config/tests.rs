use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use serde::Deserialize;
use watchfire_shared::config::ConfigKind;
use watchfire_shared::time::Span;

use super::*;

const MINUTE: Span = Span::from_seconds(60);

const KEYS: &[ConfigKey] = &[
    ConfigKey { path: "node.name", kind: ConfigKind::Text, default: "\"\"", help: "Name." },
    ConfigKey { path: "node.labels", kind: ConfigKind::Labels, default: "{}", help: "Labels." },
    ConfigKey { path: "gossip.bind", kind: ConfigKind::Address, default: "\"127.0.0.1:7950\"", help: "Bind." },
    ConfigKey { path: "gossip.advertise", kind: ConfigKind::Address, default: "\"\"", help: "Advertise." },
    ConfigKey { path: "gossip.join", kind: ConfigKind::HostPorts, default: "[]", help: "Join." },
    ConfigKey {
        path: "collect.interval",
        kind: ConfigKind::Duration { min: Span::from_seconds(1), max: MINUTE },
        default: "\"10s\"",
        help: "Interval.",
    },
    ConfigKey { path: "collect.limit", kind: ConfigKind::Integer { min: 1, max: 9 }, default: "3", help: "Limit." },
    ConfigKey { path: "paths.data", kind: ConfigKind::Path, default: "\"/var/data\"", help: "Data." },
    ConfigKey { path: "paths.key", kind: ConfigKind::Path, default: "\"\"", help: "Key." },
    ConfigKey { path: "paths.files", kind: ConfigKind::Globs, default: "[]", help: "Files." },
    ConfigKey {
        path: "paths.pool",
        kind: ConfigKind::TablesOf(&[ConfigKey { path: "key", kind: ConfigKind::Path, default: "\"\"", help: "Key." }]),
        default: "[]",
        help: "Pools.",
    },
    ConfigKey { path: "remote", kind: ConfigKind::Tables(|_, _| ()), default: "", help: "Remotes." },
    ConfigKey { path: "security.insecure", kind: ConfigKind::Boolean, default: "false", help: "Insecure." },
];

#[derive(Deserialize, Debug, PartialEq)]
struct Settings {
    node: Node,
    gossip: Gossip,
    collect: Collect,
    paths: Paths,
    security: Security,
}

#[derive(Deserialize, Debug, PartialEq)]
struct Paths {
    data: String,
    key: String,
    files: Vec<String>,
    pool: Vec<BTreeMap<String, String>>,
}

#[derive(Deserialize, Debug, PartialEq)]
struct Node {
    name: String,
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize, Debug, PartialEq)]
struct Gossip {
    bind: SocketAddr,
    #[serde(deserialize_with = "optional")]
    advertise: Option<SocketAddr>,
    join: Vec<String>,
}

#[derive(Deserialize, Debug, PartialEq)]
struct Collect {
    interval: Span,
    limit: u32,
}

#[derive(Deserialize, Debug, PartialEq)]
struct Security {
    insecure: bool,
}

/// Loads from a folder with these files, where `agent.toml` is the default one.
fn load(
    strict: bool,
    files: &[(&str, &str)],
    environment: &[(&str, &str)],
    overrides: &[(&str, &str)],
) -> Result<Loaded<Settings>, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let sources = Sources {
        config: None,
        folder: folder.path().to_owned(),
        environment: owned(environment),
        overrides: owned(overrides),
    };
    let prefix = format!("{}/", folder.path().display());
    load_from(&Program { name: "agent", keys: KEYS, strict }, &sources)
        .map_err(|error| error.to_string().replace(&prefix, ""))
}

#[test]
fn without_any_source_the_defaults_hold() {
    let loaded = load(true, &[], &[], &[]).unwrap();
    assert_eq!(loaded.value.gossip.bind, "127.0.0.1:7950".parse().unwrap());
    assert_eq!(loaded.value.gossip.advertise, None);
    assert_eq!(loaded.value.collect, Collect { interval: Span::from_seconds(10), limit: 3 });
    assert_eq!((loaded.files.len(), loaded.warnings.len()), (0, 0));
}

#[test]
fn later_sources_win_key_by_key() {
    let files = [
        (
            "agent.toml",
            "[node]\nname = \"file\"\nlabels = { zone = \"a\" }\n[collect]\nlimit = 4\ninterval = \"20s\"\n",
        ),
        ("agent.d/20.toml", "[collect]\nlimit = 6\n"),
        ("agent.d/10.toml", "[collect]\nlimit = 5\n[gossip]\nadvertise = \"10.0.0.1:1\"\n"),
        ("agent.d/note.txt", "not read"),
    ];
    let environment = [
        ("WATCHFIRE_AGENT__GOSSIP__JOIN", "a:1, b:2"),
        ("WATCHFIRE_AGENT__SECURITY__INSECURE", "true"),
        ("WATCHFIRE_AGENT__NODE__NAME", "environment"),
        ("WATCHFIRE_COLLECTOR__GOSSIP__BIND", "another program's"),
    ];
    let loaded = load(true, &files, &environment, &[("node.name", "flag")]).unwrap();
    let settings = loaded.value;
    assert_eq!(settings.node.name, "flag");
    assert_eq!(settings.node.labels, BTreeMap::from([("zone".to_owned(), "a".to_owned())]));
    assert_eq!(settings.gossip.join, ["a:1", "b:2"]);
    assert_eq!(settings.gossip.advertise, Some("10.0.0.1:1".parse().unwrap()));
    assert_eq!(settings.collect, Collect { interval: Span::from_seconds(20), limit: 6 });
    assert!(settings.security.insecure);
    assert_eq!(loaded.files.len(), 3);
}

#[test]
fn every_mistake_of_every_source_is_told_at_once() {
    let files = [
        ("agent.toml", "[collect]\nintervall = \"10s\"\nlimit = 99\n[gosip]\nbind = \"x\"\n"),
        ("agent.d/a.toml", "[node]\nlabels = { cpu = \"1\" }\nname = \n"),
    ];
    let environment = [("WATCHFIRE_AGENT__COLLECT__LIMIT", "many"), ("WATCHFIRE_AGENT__GOSSIP__BND", "x")];
    let error = load(true, &files, &environment, &[("gossip.bind", "here")]).unwrap_err();
    assert_eq!(
        error.lines().collect::<Vec<_>>(),
        [
            "agent.toml:2:1: unknown key `intervall`, did you mean `interval`?",
            "agent.toml:3:9: 99 is not between 1 and 9",
            "agent.toml:4:2: unknown section `gosip`, did you mean `gossip`?",
            "agent.d/a.toml:2:10: a node label may not be called `cpu`: series have a label of their own of that name",
            "agent.d/a.toml:3:8: invalid TOML: string values must be quoted, expected literal string",
            "environment variable WATCHFIRE_AGENT__COLLECT__LIMIT: expected an integer, found \"many\"",
            "environment variable WATCHFIRE_AGENT__GOSSIP__BND: unknown key `bnd`, did you mean `bind`?",
            "flag for gossip.bind: expected an IP address and a port such as 127.0.0.1:7950 or [::1]:7950, found \"here\"",
        ]
    );
}

#[test]
fn a_lenient_program_starts_over_unknown_keys_but_not_over_wrong_values() {
    let file = "[collect]\nintervall = \"10s\"\nlimit = 4\n[gosip]\nbind = \"x\"\n";
    let loaded = load(false, &[("agent.toml", file)], &[], &[]).unwrap();
    assert_eq!(loaded.value.collect.limit, 4);
    assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
    let error = load(false, &[("agent.toml", "[collect]\nlimit = 0\nx = 1\n")], &[], &[]).unwrap_err();
    assert_eq!(error, "agent.toml:2:9: 0 is not between 1 and 9");
}

#[test]
fn a_named_file_must_exist_and_its_folder_is_the_one_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("my.toml");
    let sources = Sources {
        config: Some(named.clone()),
        folder: "/nowhere".into(),
        environment: Vec::new(),
        overrides: Vec::new(),
    };
    let program = Program { name: "agent", keys: KEYS, strict: true };
    let error = load_from::<Settings>(&program, &sources).unwrap_err();
    assert!(error.to_string().contains("my.toml"), "{error}");

    fs::write(&named, "[collect]\nlimit = 7\n").unwrap();
    fs::create_dir(folder.path().join("agent.d")).unwrap();
    fs::write(folder.path().join("agent.d/x.toml"), "[node]\nname = \"beside\"\n").unwrap();
    let loaded = load_from::<Settings>(&program, &sources).unwrap();
    assert_eq!((loaded.value.collect.limit, loaded.value.node.name.as_str()), (7, "beside"));
    assert_eq!(loaded.files.len(), 2);
}

#[test]
fn relative_paths_begin_beside_the_file_that_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let main = "[paths]\ndata = \"data\"\nkey = \"\"\nfiles = [\"*.yml\", \"/etc/a.yml\"]\n[[paths.pool]]\nkey = \"../k\"\n\
                [[remote]]\nurl = \"u\"\nbearer_token_file = \"token\"\ntls_config = { ca_file = \"/ca\", cert_file = \"c\" }\n\
                labels = { config_file = \"prod\" }\nhttp_headers = { X_file = { files = [\"h\"] } }\n";
    fs::write(folder.path().join("agent.toml"), main).unwrap();
    fs::create_dir(folder.path().join("agent.d")).unwrap();
    fs::write(folder.path().join("agent.d/x.toml"), "[paths]\nkey = \"k\"\n[[remote]]\npassword_file = \"p\"\n")
        .unwrap();
    let sources = Sources {
        config: Some(folder.path().join("agent.toml")),
        folder: "/nowhere".into(),
        environment: vec![("WATCHFIRE_AGENT__PATHS__DATA".to_owned(), "here".to_owned())],
        overrides: Vec::new(),
    };
    let loaded = load_from::<Settings>(&Program { name: "agent", keys: KEYS, strict: true }, &sources).unwrap();
    let at = |path: &str| folder.path().join(path).display().to_string();
    let Paths { data, key, files, pool } = loaded.value.paths;
    assert_eq!((data, key), ("here".to_owned(), at("agent.d/k")), "the environment's begin where the program does");
    assert_eq!(files, [at("*.yml"), "/etc/a.yml".to_owned()]);
    assert_eq!(pool[0]["key"], at("../k"));
    let shown: Vec<String> = loaded.tables.iter().map(|table| format!("{:?}", table.node)).collect();
    for (table, path) in [(0, at("token")), (0, "\"/ca\"".to_owned()), (0, at("c")), (0, at("h")), (1, at("agent.d/p"))]
    {
        assert!(shown[table].contains(&path), "{path}: {shown:?}");
    }
    assert!(shown[0].contains("\"u\""), "a URL is no path");
    assert!(shown[0].contains("\"prod\""), "nor is a label");
}

#[test]
fn lists_and_tables_from_the_environment_may_be_written_as_toml() {
    let environment =
        [("WATCHFIRE_AGENT__GOSSIP__JOIN", "[\"a:1\"]"), ("WATCHFIRE_AGENT__NODE__LABELS", "zone=a,rack=7")];
    let settings = load(true, &[], &environment, &[]).unwrap().value;
    assert_eq!(settings.gossip.join, ["a:1"]);
    assert_eq!(settings.node.labels.len(), 2);
    let error = load(true, &[], &[("WATCHFIRE_AGENT__GOSSIP__JOIN", "[\"a:1\"")], &[]).unwrap_err();
    assert!(error.starts_with("environment variable WATCHFIRE_AGENT__GOSSIP__JOIN: invalid TOML"), "{error}");
}
