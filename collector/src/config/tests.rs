use watchfire_gossip::Profile;
use watchfire_shell::config::{Sources, load_from};

use super::*;

fn settings(text: &str) -> Result<Settings, SettingsError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("collector.toml");
    std::fs::write(&file, text).unwrap();
    let sources =
        Sources { config: Some(file), folder: "/nowhere".into(), environment: Vec::new(), overrides: Vec::new() };
    resolve(load_from(&Program { name: "collector", keys: KEYS, strict: true }, &sources)?)
}

#[test]
fn pools_have_names_addresses_and_an_ingest_in_their_segment() {
    let head = "[gossip]\nbind = \"10.0.0.1:7950\"\n[ingest]\nbind = \"[::]:7961\"\n[security]\ninsecure = true\n";
    let with = |pool: &str| settings(&format!("{head}{pool}"));
    let pool =
        "[[gossip.pool]]\nname = \"dmz\"\nbind = \"10.1.0.1:7950\"\nprofile = \"wan\"\njoin = [\"10.1.0.2:7950\"]\n";
    let read = with(pool).unwrap();
    assert_eq!(read.ingest_advertise, Some("10.0.0.1:7961".parse().unwrap()));
    let [dmz] = read.gossip.pools.as_slice() else { panic!("one pool") };
    assert_eq!((dmz.name.as_str(), dmz.profile, dmz.join.len()), ("dmz", Profile::Wan, 1));
    assert_eq!(dmz.ingest_advertise, Some("10.1.0.1:7961".parse().unwrap()));
    for (text, message) in [
        ("[[gossip.pool]]\nbnd = 1\n", "8:1: unknown key `bnd`, did you mean `bind`?"),
        ("[[gossip.pool]]\nname = \"a/b\"\n", "gossip.pool 1: expected a `name` of letters"),
        ("[[gossip.pool]]\nname = \"dmz\"\n", "gossip.pool dmz: expected `bind`"),
        (&format!("{pool}{pool}"), "two pools are called \"dmz\""),
        ("[[gossip.pool]]\nname = \"default\"\nbind = \"10.1.0.1:1\"\n", "two pools are called \"default\""),
        ("[[gossip.pool]]\nname = \"x\"\nbind = \"10.0.0.1:7950\"\n", "10.0.0.1:7950 is bound by [gossip]"),
        ("[[gossip.pool]]\nname = \"x\"\nprofile = \"lam\"\n", "unknown word `lam`, did you mean `lan`?"),
    ] {
        let error = with(text).unwrap_err().to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
    let plain = settings("[[gossip.pool]]\nname = \"x\"\nbind = \"10.1.0.1:7950\"\n").unwrap_err().to_string();
    assert!(plain.starts_with("`gossip.pool.bind` = 10.1.0.1:7950 is not a loopback address"), "{plain}");
}

#[test]
fn an_empty_file_is_a_whole_configuration() {
    let settings = settings("").unwrap();
    assert!(!settings.name.is_empty());
    assert_eq!(settings.http_bind, "127.0.0.1:7960".parse().unwrap());
    assert_eq!(settings.storage.retention, Span::from_seconds(15 * DAY));
    assert_eq!(settings.gossip.profile, Profile::Lan);
    assert_eq!(settings.series.node_labels, Vec::<String>::new());
    assert_eq!(settings.nodes, Policy::default());
}

#[test]
fn a_minimum_that_is_no_number_is_refused_by_name() {
    let read = |text: &str| settings(&format!("[nodes]\ngroup_minimum = {{ web = {text} }}\n"));
    assert_eq!(read("\"3\"").unwrap().nodes.group_minimum["web"], 3);
    let message = read("\"three\"").unwrap_err().to_string();
    assert_eq!(message, "nodes.group_minimum: expected a number of nodes for web, found \"three\"");
}

#[test]
fn a_feature_that_does_not_exist_is_refused_with_the_nearest_one() {
    let read = |name: &str| settings(&format!("[query]\nfeatures = [{name:?}]\n"));
    let syntax = read("promql-duration-expr").unwrap().syntax;
    assert_eq!(syntax, Syntax { durations: true, ..Syntax::default() });
    let message = read("promql-duration").unwrap_err().to_string();
    let expected = "there is no feature \"promql-duration\", did you mean \"promql-duration-expr\"?";
    assert_eq!(message, format!("query.features: {expected}"));
}

#[test]
fn a_notify_file_that_was_named_is_kept_though_it_is_missing() {
    let named = settings("[notify]\nfile = \"/no/such.yml\"\n").unwrap();
    assert_eq!(named.notify_file, Some("/no/such.yml".into()));
}

#[test]
fn plaintext_is_not_offered_to_a_network() {
    let message = settings("[ingest]\nbind = \"0.0.0.0:7961\"\n").unwrap_err().to_string();
    assert!(message.starts_with("`ingest.bind` = 0.0.0.0:7961 is not a loopback address"), "{message}");
    settings("[ingest]\nbind = \"0.0.0.0:7961\"\n[security]\ninsecure = true\n").unwrap();
}

#[test]
fn with_a_certificate_ingest_may_listen_to_a_network() {
    let read = |keys: &str| settings(&format!("[ingest]\nbind = \"0.0.0.0:7961\"\n[ingest.tls]\n{keys}\n"));
    let own = "cert_file = \"/no/c.pem\"\nkey_file = \"/no/k.pem\"";
    assert!(!read(own).unwrap().ingest_tls.unwrap().asks());
    assert!(read(&format!("{own}\nclient_ca_file = \"/no/ca.pem\"")).unwrap().ingest_tls.unwrap().asks());
    let refused = |keys: &str| read(keys).unwrap_err().to_string();
    assert_eq!(
        refused("client_ca_file = \"/no/ca.pem\""),
        "ingest.tls.client_ca_file is given without ingest.tls.cert_file"
    );
    assert_eq!(refused("key_file = \"/no/k.pem\""), "ingest.tls.key_file is given without ingest.tls.cert_file");
}

#[test]
fn labels_that_cannot_be_announced_together_are_refused() {
    let labels: Vec<_> = (0..5).map(|number| format!("l{number} = \"{}\"", "x".repeat(1000))).collect();
    let error = settings(&format!("[node]\nlabels = {{ {} }}\n", labels.join(", "))).unwrap_err().to_string();
    assert!(error.starts_with("node.name and node.labels: name, labels, version and services together"), "{error}");
}
