//! One conversation with a mail server (RFC 5321): TLS, authentication, one mail.
//!
//! A connection is made for each mail: notifications are rare, and a server may end a connection whenever it likes. How long
//! all of it may take is the caller's.

use std::path::Path;
use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, CertificateStore, Identity, TlsParameters, TlsVersion,
};
use lettre::transport::smtp::commands::{Data, Ehlo, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use watchfire_collector_core::alertmanager::Email;
use watchfire_collector_core::alertmanager::http::{self, TlsConfig};

use super::cram_md5;
use super::message::Ready;
use crate::sender::client::base64;
use crate::sender::client::secrets;

/// How long a connection may take to be made, within the time of the attempt.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long the server may take to say goodbye; the mail is its own by then.
const QUIT_TIME: Duration = Duration::from_secs(1);

/// Why a mail was not taken.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) retry: bool,
    pub(super) reason: String,
}

/// Hands a mail over; returns the recipients that the server does not know, each with its words, if it took the mail for
/// others.
///
/// # Errors
/// The reason, without a secret in it; nobody got the mail then, as far as the server told.
pub(super) async fn hand_over(email: &Email, ready: &Ready, folder: &Path) -> Result<Vec<(String, String)>, Failure> {
    let password = secrets::read_optional(email.password.as_ref(), folder).await.map_err(again)?;
    let secret = secrets::read_optional(email.secret.as_ref(), folder).await.map_err(again)?;
    let mut connection = connect(email, folder).await?;
    let result = async {
        authenticate(&mut connection, email, password.as_deref(), secret.as_deref()).await?;
        transfer(&mut connection, ready).await
    };
    let result = result.await;
    let _ = tokio::time::timeout(QUIT_TIME, connection.quit()).await;
    let hidden: Vec<String> = password.into_iter().chain(secret).collect();
    result.map_err(|failure| Failure { reason: secrets::redact(&failure.reason, &hidden), ..failure })
}

async fn connect(email: &Email, folder: &Path) -> Result<AsyncSmtpConnection, Failure> {
    let hello = ClientId::Domain(email.hello.clone());
    let server = (email.smarthost.host.as_str(), email.smarthost.port);
    let tls = match email.implicit_tls || email.require_tls {
        true => Some(tls(email, folder).await.map_err(again)?),
        false => None,
    };
    let at_once = tls.clone().filter(|_| email.implicit_tls);
    let connected = AsyncSmtpConnection::connect_tokio1(server, Some(CONNECT_TIME), &hello, at_once, None).await;
    let mut connection = connected.map_err(|error| told("connecting", &error))?;
    if let Some(tls) = tls.filter(|_| !email.implicit_tls) {
        if !connection.can_starttls() {
            return Err(again("the server offers no STARTTLS, which `require_tls` asks for".to_owned()));
        }
        connection.starttls(tls, &hello).await.map_err(|error| told("STARTTLS", &error))?;
    }
    Ok(connection)
}

/// `tls_config` as parameters of a connection.
async fn tls(email: &Email, folder: &Path) -> Result<TlsParameters, String> {
    let config = &email.tls;
    let ca = secrets::read_optional(config.ca.as_ref(), folder).await?;
    let certificate = secrets::read_optional(config.certificate.as_ref(), folder).await?;
    let key = secrets::read_optional(config.key.as_ref(), folder).await?;
    let name = config.server_name.clone().unwrap_or_else(|| email.smarthost.host.clone());
    let config = config.clone();
    // Without `ca`, the system's certificates are read from its files.
    let built = tokio::task::spawn_blocking(move || parameters(name, &config, ca, certificate.zip(key))).await;
    built.map_err(|error| error.to_string())?
}

fn parameters(
    name: String,
    config: &TlsConfig,
    ca: Option<String>,
    identity: Option<(String, String)>,
) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(name)
        .dangerous_accept_invalid_certs(config.insecure_skip_verify)
        .set_min_tls_version(match config.min_version {
            http::TlsVersion::Tls12 => TlsVersion::Tlsv12,
            http::TlsVersion::Tls13 => TlsVersion::Tlsv13,
        });
    if let Some(ca) = ca {
        let certificate = Certificate::from_pem(ca.as_bytes()).map_err(|error| format!("tls_config.ca: {error}"))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    if let Some((certificate, key)) = identity {
        let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes());
        builder = builder.identify_with(identity.map_err(|_| "tls_config.cert and key are no pair".to_owned())?);
    }
    builder.build().map_err(|error| format!("tls_config: {error}"))
}

/// Says who sends, if the configuration names a user and the server wants to know.
async fn authenticate(
    connection: &mut AsyncSmtpConnection,
    email: &Email,
    password: Option<&str>,
    secret: Option<&str>,
) -> Result<(), Failure> {
    let Some(username) = &email.username else { return Ok(()) };
    if let Some(secret) = secret
        && prefers_cram_md5(connection, email, password.is_some()).await?
    {
        let challenge = connection.command("AUTH CRAM-MD5\r\n").await.map_err(|error| told("AUTH", &error))?;
        let challenge = challenge.first_word().unwrap_or_default();
        let answer = cram_md5::answer(username, secret, challenge).map_err(again)?;
        let answer = connection.command(format!("{answer}\r\n")).await;
        return answer.map(drop).map_err(|error| told("AUTH", &error));
    }
    let offers = |mechanism| connection.server_info().supports_auth_mechanism(mechanism);
    let (plain, login) = (offers(Mechanism::Plain), offers(Mechanism::Login));
    // A relay that asks for no name is used without one, as Alertmanager does; one that does ask refuses the mail.
    if !plain && !login {
        return Ok(());
    }
    let Some(password) = password else {
        return Err(again("`auth_username` is set, but no `auth_password`".to_owned()));
    };
    let answer = if plain {
        let local = ["localhost", "127.0.0.1", "::1"].contains(&email.smarthost.host.as_str());
        if !connection.is_encrypted() && !local {
            return Err(again("a password goes over the network only with TLS; set `require_tls`".to_owned()));
        }
        let identity = email.identity.as_deref().unwrap_or_default();
        let credentials = base64(format!("{identity}\0{username}\0{password}").as_bytes());
        connection.command(format!("AUTH PLAIN {credentials}\r\n")).await
    } else {
        let credentials = Credentials::new(username.clone(), password.to_owned());
        connection.auth(&[Mechanism::Login], &credentials).await
    };
    answer.map(drop).map_err(|error| told("AUTH", &error))
}

/// Whether the server offers CRAM-MD5, before any other way for which there is a password, as Alertmanager chooses. The
/// client knows nothing of this way, so that the server is asked again what it offers.
async fn prefers_cram_md5(
    connection: &mut AsyncSmtpConnection,
    email: &Email,
    has_password: bool,
) -> Result<bool, Failure> {
    let hello = Ehlo::new(ClientId::Domain(email.hello.clone()));
    let offered = connection.command(hello).await.map_err(|error| told("EHLO", &error))?;
    let ways = offered.message().filter_map(|line| line.strip_prefix("AUTH ")).flat_map(str::split_whitespace);
    let mut ways = ways.filter(|way| *way == "CRAM-MD5" || (has_password && ["PLAIN", "LOGIN"].contains(way)));
    Ok(ways.next() == Some("CRAM-MD5"))
}

async fn transfer(connection: &mut AsyncSmtpConnection, ready: &Ready) -> Result<Vec<(String, String)>, Failure> {
    let mut parameters = Vec::new();
    if !ready.to.iter().chain([&ready.from]).all(|address| address.to_string().is_ascii()) {
        if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            return Err(again("an address is not ASCII, and the server offers no SMTPUTF8".to_owned()));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    let sender = connection.command(Mail::new(Some(ready.from.clone()), parameters)).await;
    sender.map_err(|error| told("MAIL FROM", &error))?;
    let mut refused = Vec::new();
    for recipient in &ready.to {
        match connection.command(Rcpt::new(recipient.clone(), Vec::new())).await {
            Ok(_) => {}
            // One wrong address must not keep an alert from all others. A server that is only busy is asked again, before
            // anybody got the mail.
            Err(error) if error.is_permanent() && refused.len() + 1 < ready.to.len() => {
                refused.push((recipient.to_string(), told("RCPT TO", &error).reason));
            }
            Err(error) => return Err(told(&format!("RCPT TO <{recipient}>"), &error)),
        }
    }
    connection.command(Data).await.map_err(|error| told("DATA", &error))?;
    connection.message(&ready.bytes).await.map_err(|error| told("the end of DATA", &error))?;
    Ok(refused)
}

fn again(reason: String) -> Failure {
    Failure { retry: true, reason }
}

/// A server that answers 5xx will do so again; anything else may be gone soon.
fn told(step: &str, error: &lettre::transport::smtp::Error) -> Failure {
    let mut cause: &dyn std::error::Error = error;
    // The innermost reason says most, unless it is the server's answer, which stands beside its code.
    while let (None, Some(inner)) = (error.status(), cause.source()) {
        cause = inner;
    }
    let hint = match cause.to_string().contains("CaUsedAsEndEntity") {
        true => " (the server shows a certificate that is meant for a CA; give it one of its own)",
        false => "",
    };
    Failure { retry: !error.is_permanent(), reason: format!("{step}: {cause}{hint}") }
}
