//! The uplink in TLS 1.3 with real processes: what is shown is checked on both sides, and a renewed certificate is taken up.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests are shells")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustix::process::Signal;
use watchfire_tests::house::{House, Setup};

/// Generous: a loaded machine must not fail a test that a quiet one passes in a few seconds.
const SOON: Duration = Duration::from_secs(60);

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("keys can be made");
    CertifiedIssuer::self_signed(params, key).expect("the parameters are sound")
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("the folder is ours");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).expect("the file is ours");
}

/// Writes a certificate for loopback and its key, valid until the beginning of a year.
fn sign(folder: &Path, name: &str, issuer: &Authority, until: i32) {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address is a name");
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().expect("keys can be made");
    let certificate = params.signed_by(&key, issuer).expect("the parameters are sound");
    write(&folder.join(format!("{name}.pem")), &certificate.pem());
    write(&folder.join(format!("{name}.key")), &key.serialize_pem());
}

/// A collector `watch` that asks agents for a certificate of the authority `ca`, whose certificate is in `ca.pem`.
async fn house(ca: &Authority) -> House {
    let mut house = House::new(env!("CARGO_BIN_EXE_multicall"), Setup::default()).await;
    let folder = house.folder().to_owned();
    write(&folder.join("ca.pem"), &ca.pem());
    sign(&folder, "watch", ca, 2100);
    let at = |name: &str| folder.join(name);
    let (cert, key, ca) = (at("watch.pem"), at("watch.key"), at("ca.pem"));
    house.extra.insert(
        "watch".into(),
        format!("[ingest.tls]\ncert_file = {cert:?}\nkey_file = {key:?}\nclient_ca_file = {ca:?}\n"),
    );
    house.add_collector("watch", &[]);
    house
}

/// Adds an agent with the keys of `[uplink.tls]`, their values names of files of the house's folder.
fn add_agent(house: &mut House, name: &str, keys: &[(&str, &str)]) {
    let folder = house.folder().to_owned();
    let lines = keys.iter().map(|(key, file)| format!("{key} = {:?}\n", folder.join(file)));
    let section = if keys.is_empty() { String::new() } else { format!("[uplink.tls]\n{}", lines.collect::<String>()) };
    house.extra.insert(name.into(), section);
    let join = [house.node("watch").gossip];
    house.add_agent(name, &join);
}

async fn wait_for_log(house: &House, name: &str, text: &str) {
    let path = house.folder().join(format!("{name}.log"));
    let what = format!("{name} says: {text}");
    house
        .wait(&what, SOON, async || std::fs::read_to_string(&path).unwrap_or_default().contains(text).then_some(()))
        .await;
}

async fn wait_until_up(house: &House, name: &str) {
    let query = format!("up{{instance=\"{name}\"}}");
    let what = format!("{name} reports");
    house.wait(&what, SOON, async || (house.query("watch", &query).await? == 1.0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_agents_with_a_certificate_of_the_authority_report_and_all_others_hear_why() {
    let (ca, other) = (authority("ca"), authority("other"));
    let mut house = house(&ca).await;
    let folder = house.folder().to_owned();
    write(&folder.join("other.pem"), &other.pem());
    sign(&folder, "good", &ca, 2100);
    sign(&folder, "old", &ca, 2001);
    sign(&folder, "stranger", &other, 2100);
    let own = |name: &str| {
        [("ca_file", "ca.pem".to_owned()), ("cert_file", format!("{name}.pem")), ("key_file", format!("{name}.key"))]
    };
    for name in ["good", "old", "stranger"] {
        let keys = own(name);
        add_agent(&mut house, name, &keys.each_ref().map(|(key, file)| (*key, file.as_str())));
    }
    add_agent(&mut house, "bare", &[("ca_file", "ca.pem")]);
    add_agent(&mut house, "misled", &[("ca_file", "other.pem")]);
    add_agent(&mut house, "plain", &[]);
    wait_until_up(&house, "good").await;
    for (agent, reason) in [
        ("old", "the collector says that our certificate has expired"),
        ("stranger", "the collector does not trust whoever signed our certificate"),
        ("bare", "the collector asks for a certificate, and none is configured"),
        ("misled", "the certificate of the collector is not signed by a certificate authority that is trusted here"),
        ("plain", "the collector speaks TLS, and [uplink.tls] is not configured"),
    ] {
        wait_for_log(&house, agent, reason).await;
    }
    for reason in [
        "the certificate of the agent expired ",
        "the certificate of the agent is not signed by a certificate authority that is trusted here",
        "the agent shows no certificate, and one is asked for",
        "the agent does not trust whoever signed our certificate",
        "the agent does not speak TLS",
    ] {
        wait_for_log(&house, "watch", reason).await;
    }
    assert_eq!(house.query("watch", "count(up{job=\"node\"} == 1)").await, Some(1.0), "{}", house.logs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_up_renewed_certificates_and_refuses_bad_ones() {
    let (ca, next) = (authority("ca"), authority("next"));
    let mut house = house(&ca).await;
    let folder = house.folder().to_owned();
    sign(&folder, "a", &ca, 2100);
    // The agent's files do not exist yet: it starts, and its samples wait.
    std::fs::rename(folder.join("a.pem"), folder.join("later.pem")).unwrap();
    add_agent(&mut house, "a", &[("ca_file", "ca.pem"), ("cert_file", "a.pem"), ("key_file", "a.key")]);
    wait_for_log(&house, "a", "a.pem does not exist").await;
    std::fs::rename(folder.join("later.pem"), folder.join("a.pem")).unwrap();
    wait_until_up(&house, "a").await;

    // A bad file leaves the old certificate in use.
    write(&folder.join("watch.pem"), "no certificate");
    house.signal("watch", Signal::HUP);
    wait_for_log(&house, "watch", "watch.pem: expected certificates in PEM").await;

    // All of it by another authority: the next connection shows and asks for the new certificates.
    write(&folder.join("ca.pem"), &next.pem());
    sign(&folder, "watch", &next, 2100);
    sign(&folder, "a", &next, 2100);
    house.signal("watch", Signal::HUP);
    wait_for_log(&house, "watch", "the configuration was reloaded").await;
    for (what, open) in [("the agent has gone", 0.0), ("the agent connects anew", 1.0)] {
        if open == 0.0 {
            house.stop("a");
        } else {
            house.start("a");
        }
        house
            .wait(what, SOON, async || {
                (house.metric("watch", "watchfire_ingest_connections").await? == open).then_some(())
            })
            .await;
    }
    assert_eq!(house.metric("watch", "watchfire_ingest_handshakes_failed_total").await, Some(0.0), "{}", house.logs());
}
