//! `tls_config` against a server that speaks TLS: another name, and versions.

use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, SupportedProtocolVersion, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::*;

static ONLY_12: &[&SupportedProtocolVersion] = &[&version::TLS12];
static ONLY_13: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// What a client says to a server: the name in its handshake, the version, the host of its request.
type Heard = Option<(Option<String>, Option<rustls::ProtocolVersion>, String)>;

/// A server with a certificate for `watch.example` and the certificate of its authority.
async fn server(
    versions: &'static [&'static SupportedProtocolVersion],
) -> (SocketAddr, String, tokio::task::JoinHandle<Heard>) {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let own = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["watch.example".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&own, &authority).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let heard = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.ok()?;
        let mut bytes = vec![0; 4096];
        let read = stream.read(&mut bytes).await.ok()?;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        stream.shutdown().await.unwrap();
        let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
        let host = text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default().to_owned();
        let (_, session) = stream.get_ref();
        Some((session.server_name().map(str::to_owned), session.protocol_version(), host))
    });
    (address, authority.pem(), heard)
}

/// Posts to the server by its address; `more` stands in `tls_config`.
async fn post(address: SocketAddr, ca: &str, more: &str) -> DeliveryOutcome {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), ca).unwrap();
    let config = format!("        http_config: {{tls_config: {{ca_file: ca.pem{more}}}}}\n");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let senders = Senders::default();
    senders.set_folder(folder.path());
    senders.deliver(&delivery(&format!("https://{address}/hook"), &config)).await
}

#[tokio::test]
async fn another_server_name_is_asked_for_and_found_in_the_certificate() {
    let (address, ca, heard) = server(rustls::ALL_VERSIONS).await;
    assert_eq!(post(address, &ca, ", server_name: watch.example").await, DeliveryOutcome::Ok);
    let (name, _, host) = heard.await.unwrap().unwrap();
    assert_eq!(
        (name.as_deref(), host),
        (Some("watch.example"), address.to_string()),
        "the request names the URL's host"
    );

    let (address, ca, heard) = server(rustls::ALL_VERSIONS).await;
    let refused = post(address, &ca, "").await;
    assert!(reason(&refused).1.contains("certificate"), "{refused:?}");
    assert_eq!(heard.await.unwrap(), None);
    let (address, ca, heard) = server(rustls::ALL_VERSIONS).await;
    let refused = post(address, &ca, ", server_name: other.example").await;
    assert!(reason(&refused).1.contains("certificate"), "{refused:?}");
    assert_eq!(heard.await.unwrap(), None);
}

#[tokio::test]
async fn versions_are_spoken_between_the_lowest_and_the_highest() {
    let named = ", server_name: watch.example";
    let (address, ca, heard) = server(rustls::ALL_VERSIONS).await;
    assert_eq!(post(address, &ca, &format!("{named}, max_version: TLS12")).await, DeliveryOutcome::Ok);
    assert_eq!(heard.await.unwrap().unwrap().1, Some(rustls::ProtocolVersion::TLSv1_2));
    let (address, ca, heard) = server(rustls::ALL_VERSIONS).await;
    assert_eq!(post(address, &ca, named).await, DeliveryOutcome::Ok);
    assert_eq!(heard.await.unwrap().unwrap().1, Some(rustls::ProtocolVersion::TLSv1_3));
    for (theirs, ours) in [(ONLY_13, "max_version: TLS12"), (ONLY_12, "min_version: TLS13")] {
        let (address, ca, heard) = server(theirs).await;
        let refused = post(address, &ca, &format!("{named}, {ours}")).await;
        assert!(reason(&refused).0, "{refused:?}");
        assert_eq!(heard.await.unwrap(), None, "{ours}");
    }
}
