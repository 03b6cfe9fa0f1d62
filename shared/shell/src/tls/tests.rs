use std::os::unix::fs::PermissionsExt;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// Certificates in a folder: each with its key beside it.
struct Made {
    folder: TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
    other: CertifiedIssuer<'static, KeyPair>,
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Made {
    fn new() -> Self {
        let made = Self { folder: tempfile::tempdir().unwrap(), ca: authority("ca"), other: authority("other") };
        made.write("ca.pem", &made.ca.pem());
        made.write("other-ca.pem", &made.other.pem());
        made.sign("watch", &made.ca, 2100);
        made.sign("web-1", &made.ca, 2100);
        made.sign("old", &made.ca, 2001);
        made.sign("stranger", &made.other, 2100);
        made
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    fn sign(&self, name: &str, issuer: &CertifiedIssuer<'static, KeyPair>, until: i32) {
        let mut params = CertificateParams::new([name.to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn identity(&self, name: &str) -> Identity {
        Identity { cert_file: self.path(&format!("{name}.pem")), key_file: self.path(&format!("{name}.key")) }
    }

    fn server(&self, name: &str, client_ca: Option<&str>) -> ServerFiles {
        ServerFiles { identity: self.identity(name), client_ca_file: client_ca.map(|name| self.path(name)) }
    }

    fn client(&self, ca: &str, name: Option<&str>) -> ClientFiles {
        ClientFiles { ca_file: self.path(ca), identity: name.map(|name| self.identity(name)), server_name: None }
    }
}

/// Connects, lets both sides say a word, and gives what each side says of it.
async fn meet(server: &ServerFiles, client: &ClientFiles, host: &str) -> [Result<(), String>; 2] {
    let (here, there) = tokio::io::duplex(1 << 16);
    let acceptor = TlsAcceptor::from(server.read().unwrap());
    let connector = TlsConnector::from(client.read().unwrap());
    let name = client.name_for(host).unwrap();
    let listening = async {
        let mut stream = acceptor.accept(there).await?;
        stream.write_all(b"hello").await?;
        stream.flush().await?;
        stream.read_exact(&mut [0; 5]).await.map(drop)
    };
    let dialling = async {
        let mut stream = connector.connect(name, here).await?;
        stream.write_all(b"hello").await?;
        stream.flush().await?;
        stream.read_exact(&mut [0; 5]).await.map(drop)
    };
    let (listened, dialled) = tokio::join!(listening, dialling);
    let told = |result: io::Result<()>, peer| result.map_err(|error| explain(&error, peer));
    [told(listened, "the agent"), told(dialled, "the collector")]
}

/// Both sides' messages.
async fn refused(server: ServerFiles, client: ClientFiles, host: &str) -> [String; 2] {
    meet(&server, &client, host).await.map(Result::unwrap_err)
}

#[tokio::test]
async fn a_certificate_of_the_right_authority_is_taken() {
    let made = Made::new();
    for (server, client) in [
        (made.server("watch", None), made.client("ca.pem", None)),
        (made.server("watch", None), made.client("ca.pem", Some("stranger"))),
        (made.server("watch", Some("ca.pem")), made.client("ca.pem", Some("web-1"))),
        (made.server("watch", Some("other-ca.pem")), made.client("ca.pem", Some("stranger"))),
    ] {
        for host in ["watch", "127.0.0.1"] {
            assert_eq!(meet(&server, &client, host).await, [Ok(()), Ok(())], "{client:?} {server:?}");
        }
    }
    let named = ClientFiles { server_name: Some("watch".try_into().unwrap()), ..made.client("ca.pem", None) };
    assert_eq!(meet(&made.server("watch", None), &named, "10.0.0.1").await, [Ok(()), Ok(())]);
}

#[tokio::test]
async fn every_other_one_is_refused_in_words_on_both_sides() {
    let made = Made::new();
    let untrusted = refused(made.server("stranger", None), made.client("ca.pem", None), "stranger").await;
    let here = "the certificate of the collector is not signed by a certificate authority that is trusted here";
    assert_eq!(untrusted, ["the agent does not trust whoever signed our certificate", here]);

    let [there, here] = refused(made.server("old", None), made.client("ca.pem", None), "old").await;
    assert_eq!(there, "the agent says that our certificate has expired, or is not valid yet");
    assert!(here.starts_with("the certificate of the collector expired ") && here.ends_with(" days ago"), "{here}");

    let [there, here] = refused(made.server("watch", None), made.client("ca.pem", None), "10.0.0.1").await;
    assert_eq!(there, "the agent does not take our certificate (BadCertificate)");
    assert!(
        here.starts_with("the certificate of the collector is for ") && here.ends_with(", not for 10.0.0.1"),
        "{here}"
    );

    let asks = || made.server("watch", Some("ca.pem"));
    let none = refused(asks(), made.client("ca.pem", None), "watch").await;
    let there = "the agent shows no certificate, and one is asked for";
    assert_eq!(none, [there, "the collector asks for a certificate, and none is configured"]);

    let stranger = refused(asks(), made.client("ca.pem", Some("stranger")), "watch").await;
    let there = "the certificate of the agent is not signed by a certificate authority that is trusted here";
    assert_eq!(stranger, [there, "the collector does not trust whoever signed our certificate"]);

    let [there, here] = refused(asks(), made.client("ca.pem", Some("old")), "watch").await;
    assert!(there.starts_with("the certificate of the agent expired "), "{there}");
    assert_eq!(here, "the collector says that our certificate has expired, or is not valid yet");
}

#[tokio::test]
async fn older_versions_of_tls_are_not_spoken() {
    let made = Made::new();
    let client = made.client("ca.pem", None);
    let (here, there) = tokio::io::duplex(1 << 16);
    let acceptor = TlsAcceptor::from(made.server("watch", None).read().unwrap());
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS12])
        .unwrap()
        .with_root_certificates(authorities(&client.ca_file).unwrap())
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let (listened, dialled) =
        tokio::join!(acceptor.accept(there), connector.connect(client.name_for("watch").unwrap(), here));
    assert_eq!(explain(&listened.unwrap_err(), "the agent"), "the agent does not speak TLS 1.3");
    assert!(dialled.is_err());
}

#[tokio::test]
async fn plaintext_is_named_as_such() {
    let made = Made::new();
    let (mut here, there) = tokio::io::duplex(1 << 16);
    let acceptor = TlsAcceptor::from(made.server("watch", None).read().unwrap());
    here.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let error = acceptor.accept(there).await.unwrap_err();
    assert_eq!(explain(&error, "the agent"), "the agent does not speak TLS");
    let mut answer = Vec::new();
    here.read_to_end(&mut answer).await.unwrap();
    assert!(is_alert(&answer) && !is_handshake(&answer));
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let made = Made::new();
    let at = |name: &str| made.path(name).display().to_string();
    let told = |files: ServerFiles| files.read().unwrap_err().to_string();
    let with = |cert: &str, key: &str| ServerFiles {
        identity: Identity { cert_file: made.path(cert), key_file: made.path(key) },
        client_ca_file: None,
    };
    assert_eq!(told(with("none.pem", "watch.key")), format!("{} does not exist", at("none.pem")));
    assert_eq!(told(with("watch.pem", "none.key")), format!("{} does not exist", at("none.key")));
    assert_eq!(told(with("watch.key", "watch.key")), format!("{}: expected certificates in PEM", at("watch.key")));
    assert_eq!(told(with("watch.pem", "watch.pem")), format!("{}: expected a private key in PEM", at("watch.pem")));
    let mixed = format!("{} and {} do not belong together", at("watch.pem"), at("web-1.key"));
    assert_eq!(told(with("watch.pem", "web-1.key")), mixed);
    made.write("junk.pem", "-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n");
    let junk = told(made.server("watch", Some("junk.pem")));
    assert!(junk.starts_with(&format!("{}: ", at("junk.pem"))), "{junk}");
    std::fs::set_permissions(made.path("watch.key"), PermissionsExt::from_mode(0o644)).unwrap();
    let open = format!("{} can be read by everybody (mode 644); expected 600 or 640", at("watch.key"));
    assert_eq!(told(with("watch.pem", "watch.key")), open);
}
