//! TLS 1.3 of the uplink: what the certificate files say, as rustls takes it, and its errors in words.
//!
//! Every connection shows its certificates anew: sessions are not resumed, so that a certificate that expired or a
//! certificate authority that was exchanged counts from the next connection on. Which files there are is the programs'
//! configuration; whom a certificate names is not looked at beyond what the handshake verifies.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, InconsistentKeys, PeerIncompatible, RootCertStore,
    ServerConfig, version,
};
use serde::Deserialize;

use crate::config::optional;
use crate::files::{FileError, read_optional};

/// A certificate file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path} does not exist")]
    Missing { path: String },
    #[error("{path}: expected {expected} in PEM")]
    NotPem { path: String, expected: &'static str },
    #[error("{path} can be read by everybody (mode {mode:03o}); expected 600 or 640")]
    Open { path: String, mode: u32 },
    #[error("{cert} and {key} do not belong together")]
    Mismatch { cert: String, key: String },
    #[error("{path}: {error}")]
    Unusable { path: String, error: Error },
}

/// The section `[uplink.tls]` of an agent, as the file says it.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct RawClient {
    #[serde(deserialize_with = "optional")]
    ca_file: Option<PathBuf>,
    #[serde(deserialize_with = "optional")]
    cert_file: Option<PathBuf>,
    #[serde(deserialize_with = "optional")]
    key_file: Option<PathBuf>,
    #[serde(deserialize_with = "optional")]
    server_name: Option<String>,
}

/// The section `[ingest.tls]` of a collector, as the file says it.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct RawServer {
    #[serde(deserialize_with = "optional")]
    cert_file: Option<PathBuf>,
    #[serde(deserialize_with = "optional")]
    key_file: Option<PathBuf>,
    #[serde(deserialize_with = "optional")]
    client_ca_file: Option<PathBuf>,
}

/// One key of the section makes no sense without another.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{section}.{found} is given without {section}.{missing}")]
pub struct Incomplete {
    section: &'static str,
    found: &'static str,
    missing: &'static str,
}

/// A certificate and its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    cert_file: PathBuf,
    key_file: PathBuf,
}

/// What the dialling side needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientFiles {
    ca_file: PathBuf,
    /// What it shows if it is asked.
    identity: Option<Identity>,
    /// The name that the other side's certificate has to have, in place of the host that was dialled.
    server_name: Option<ServerName<'static>>,
}

/// What the listening side needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerFiles {
    identity: Identity,
    /// Who has to have signed the certificates of those who connect; without it nobody is asked for one.
    client_ca_file: Option<PathBuf>,
}

/// A configuration of a section that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SectionError {
    #[error(transparent)]
    Incomplete(#[from] Incomplete),
    #[error("uplink.tls.server_name: expected a host name or an IP address, found {0:?}")]
    ServerName(String),
}

fn identity(
    section: &'static str,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
) -> Result<Option<Identity>, Incomplete> {
    match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => Ok(Some(Identity { cert_file, key_file })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Incomplete { section, found: "cert_file", missing: "key_file" }),
        (None, Some(_)) => Err(Incomplete { section, found: "key_file", missing: "cert_file" }),
    }
}

impl RawClient {
    /// What the section means; `None` if it is empty.
    ///
    /// # Errors
    /// If a key is missing beside another, or the name is none.
    pub fn resolve(self) -> Result<Option<ClientFiles>, SectionError> {
        let incomplete = |found| Incomplete { section: "uplink.tls", found, missing: "ca_file" };
        let identity = identity("uplink.tls", self.cert_file, self.key_file)?;
        let Some(ca_file) = self.ca_file else {
            return match (identity, self.server_name) {
                (Some(_), _) => Err(incomplete("cert_file").into()),
                (None, Some(_)) => Err(incomplete("server_name").into()),
                (None, None) => Ok(None),
            };
        };
        let name = |text: String| ServerName::try_from(text.clone()).map_err(|_| SectionError::ServerName(text));
        Ok(Some(ClientFiles { ca_file, identity, server_name: self.server_name.map(name).transpose()? }))
    }
}

impl RawServer {
    /// What the section means; `None` if it is empty.
    ///
    /// # Errors
    /// If a key is missing beside another.
    pub fn resolve(self) -> Result<Option<ServerFiles>, SectionError> {
        let section = "ingest.tls";
        match (identity(section, self.cert_file, self.key_file)?, self.client_ca_file) {
            (Some(identity), client_ca_file) => Ok(Some(ServerFiles { identity, client_ca_file })),
            (None, Some(_)) => Err(Incomplete { section, found: "client_ca_file", missing: "cert_file" }.into()),
            (None, None) => Ok(None),
        }
    }
}

impl ClientFiles {
    /// The name that the certificate of `host` has to have; `host` may be an IP address.
    ///
    /// # Errors
    /// If it can be in no certificate.
    pub fn name_for(&self, host: &str) -> Result<ServerName<'static>, String> {
        if let Some(name) = &self.server_name {
            return Ok(name.clone());
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        ServerName::try_from(bare.to_owned()).map_err(|_| format!("no certificate can name the host {host:?}"))
    }

    /// Reads the files.
    ///
    /// # Errors
    /// Which file cannot be used and why; never a part of a key.
    pub fn read(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = provider();
        let roots = authorities(&self.ca_file)?;
        let unusable = |path: &Path, error| TlsError::Unusable { path: path.display().to_string(), error };
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| unusable(&self.ca_file, Error::General(error.to_string())))?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| unusable(&self.ca_file, error))?
            .with_webpki_verifier(verifier);
        let mut config = match &self.identity {
            Some(own) => {
                let (certificates, key) = own.read()?;
                config.with_client_auth_cert(certificates, key).map_err(|error| own.refused(error))?
            }
            None => config.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

impl ServerFiles {
    /// Whether those who connect have to show a certificate.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.client_ca_file.is_some()
    }

    /// Reads the files.
    ///
    /// # Errors
    /// Which file cannot be used and why; never a part of a key.
    pub fn read(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = provider();
        let (certificates, key) = self.identity.read()?;
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| self.identity.refused(error))?;
        let config = match &self.client_ca_file {
            Some(file) => {
                let roots = Arc::new(authorities(file)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                config.with_client_cert_verifier(verifier.map_err(|error| TlsError::Unusable {
                    path: file.display().to_string(),
                    error: Error::General(error.to_string()),
                })?)
            }
            None => config.with_no_client_auth(),
        };
        let mut config = config.with_single_cert(certificates, key).map_err(|error| self.identity.refused(error))?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

impl Identity {
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let certificates = certificates(&self.cert_file)?;
        let bytes = must_read(&self.key_file)?;
        let path = || self.key_file.display().to_string();
        let mode = std::fs::metadata(&self.key_file).map(|found| found.permissions().mode() & 0o777).unwrap_or(0);
        if mode & 0o007 != 0 {
            return Err(TlsError::Open { path: path(), mode });
        }
        let key = PrivateKeyDer::from_pem_slice(&bytes);
        let key = key.map_err(|_| TlsError::NotPem { path: path(), expected: "a private key" })?;
        Ok((certificates, key))
    }

    fn refused(&self, error: Error) -> TlsError {
        let (cert, key) = (self.cert_file.display().to_string(), self.key_file.display().to_string());
        match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch { cert, key },
            error @ Error::InvalidCertificate(_) => TlsError::Unusable { path: cert, error },
            error => TlsError::Unusable { path: key, error },
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn must_read(path: &Path) -> Result<Vec<u8>, TlsError> {
    read_optional(path)?.ok_or_else(|| TlsError::Missing { path: path.display().to_string() })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let not_pem = || TlsError::NotPem { path: path.display().to_string(), expected: "certificates" };
    let bytes = must_read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(not_pem)
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|error| TlsError::Unusable { path: path.display().to_string(), error })?;
    }
    Ok(roots)
}

/// What went wrong with a TLS connection, in words that say whose configuration to look at. `peer` is what the other
/// side is called.
#[must_use]
pub fn explain(error: &io::Error, peer: &str) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => explain_tls(error, peer),
        None => error.to_string(),
    }
}

fn explain_tls(error: &Error, peer: &str) -> String {
    match error {
        Error::InvalidCertificate(error) => explain_certificate(error, peer),
        Error::NoCertificatesPresented => format!("{peer} shows no certificate, and one is asked for"),
        Error::InvalidMessage(_) => format!("{peer} does not speak TLS"),
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13,
        ) => format!("{peer} does not speak TLS 1.3"),
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => format!("{peer} asks for a certificate, and none is configured"),
            AlertDescription::UnknownCA => format!("{peer} does not trust whoever signed our certificate"),
            AlertDescription::CertificateExpired => {
                format!("{peer} says that our certificate has expired, or is not valid yet")
            }
            AlertDescription::CertificateRevoked => format!("{peer} says that our certificate was revoked"),
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError => format!("{peer} does not take our certificate ({alert:?})"),
            AlertDescription::ProtocolVersion => format!("{peer} does not speak TLS 1.3"),
            other => format!("{peer} ended the TLS connection ({other:?})"),
        },
        other => other.to_string(),
    }
}

fn explain_certificate(error: &CertificateError, peer: &str) -> String {
    match error {
        CertificateError::Expired => format!("the certificate of {peer} has expired"),
        CertificateError::ExpiredContext { time, not_after } => {
            let days = time.as_secs().saturating_sub(not_after.as_secs()) / 86_400;
            format!("the certificate of {peer} expired {days} days ago")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the certificate of {peer} is not valid yet")
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("the certificate of {peer} is not signed by a certificate authority that is trusted here")
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") };
            format!("the certificate of {peer} is for {names}, not for {}", expected.to_str())
        }
        CertificateError::NotValidForName => format!("the certificate of {peer} is for another name"),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("the certificate of {peer} is not for this use")
        }
        other => format!("the certificate of {peer} is not valid: {other}"),
    }
}

/// Whether the first bytes that came are a TLS alert: plaintext was spoken to a port that speaks TLS.
#[must_use]
pub fn is_alert(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x15, 0x03])
}

/// Whether the first bytes that came are a TLS handshake: TLS was spoken to a port that takes plaintext.
#[must_use]
pub fn is_handshake(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x16, 0x03])
}

#[cfg(test)]
mod tests;
