//! Amazon's fourth signature of a request that posts a form.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use ring::{digest, hmac};
use watchfire_shared::time::Timestamp;

use super::super::client::FORM;

const SIGNED: &str = "content-type;host;x-amz-date";

/// Who signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) access: String,
    pub(super) secret: String,
    /// Of keys that were lent.
    pub(super) session: Option<String>,
}

/// The headers that a request with this body needs beside its content type.
///
/// # Errors
/// If the URL names no host.
pub(super) fn headers(
    keys: &Keys,
    (region, service): (&str, &str),
    url: &str,
    body: &str,
    now: Timestamp,
) -> Result<Vec<(&'static str, String)>, String> {
    let (host, path) = place(url).ok_or("the URL has no host")?;
    let time = basic_time(now);
    let day = &time[..8];
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let mut named = format!("content-type:{FORM}\nhost:{host}\nx-amz-date:{time}\n");
    let mut signed = SIGNED.to_owned();
    if let Some(token) = &keys.session {
        named.push_str(&format!("x-amz-security-token:{token}\n"));
        signed.push_str(";x-amz-security-token");
    }
    let request = format!("POST\n{path}\n\n{named}\n{signed}\n{}", hash(body.as_bytes()));
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(request.as_bytes()));
    let mut key = mac(format!("AWS4{}", keys.secret).as_bytes(), day);
    for part in [region, service, "aws4_request"] {
        key = mac(&key, part);
    }
    let signature = hex(&mac(&key, &text));
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}", keys.access);
    let mut headers = vec![("x-amz-date", time), ("authorization", authorization)];
    headers.extend(keys.session.clone().map(|token| ("x-amz-security-token", token)));
    Ok(headers)
}

/// Host and path of a URL, as a client sends them.
fn place(url: &str) -> Option<(String, String)> {
    let parsed = reqwest::Url::parse(url).ok()?;
    let host = parsed.host_str()?;
    let host = parsed.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Some((host, parsed.path().to_owned()))
}

/// `20260102T030405Z`.
fn basic_time(now: Timestamp) -> String {
    let text = now.to_string();
    let whole = text.split('.').next().unwrap_or_default().trim_end_matches('Z');
    whole.replace(['-', ':'], "") + "Z"
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The keys of a profile in the text of a shared file.
///
/// <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>
pub(super) fn of_profile(text: &str, profile: &str) -> Option<Keys> {
    let (mut here, mut access, mut secret, mut session) = (false, None, None, None);
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            here = name.trim() == profile;
        } else if let Some((key, value)) = line.split_once('=').filter(|_| here) {
            let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            match key.trim() {
                "aws_access_key_id" => access = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => session = value,
                _ => {}
            }
        }
    }
    Some(Keys { access: access?, secret: secret?, session })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_profile() {
        let text = "# mine\n[default]\naws_access_key_id = a\naws_secret_access_key=b\n\n[ops]\naws_access_key_id=c\n\
                    aws_secret_access_key = d=\naws_session_token = e\n[half]\naws_access_key_id = f\n";
        let keys = |access: &str, secret: &str, session: Option<&str>| Keys {
            access: access.to_owned(),
            secret: secret.to_owned(),
            session: session.map(str::to_owned),
        };
        assert_eq!(of_profile(text, "default"), Some(keys("a", "b", None)));
        assert_eq!(of_profile(text, "ops"), Some(keys("c", "d=", Some("e"))));
        assert_eq!((of_profile(text, "half"), of_profile(text, "none")), (None, None));
    }

    /// `post-x-www-form-urlencoded` of Amazon's test suite for the fourth signature.
    #[test]
    fn a_form_is_signed_as_amazon_signs_it() {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned();
        let keys = Keys { access: "AKIDEXAMPLE".to_owned(), secret, session: None };
        let now = Timestamp::from_millis(1_440_938_160_000);
        let url = "https://example.amazonaws.com";
        let headers = headers(&keys, ("us-east-1", "service"), url, "Param1=value1", now).unwrap();
        let expected = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                        SignedHeaders=content-type;host;x-amz-date, \
                        Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a";
        assert_eq!(headers, [("x-amz-date", "20150830T123600Z".to_owned()), ("authorization", expected.to_owned())]);
    }

    #[test]
    fn the_time_is_written_without_marks() {
        assert_eq!(basic_time(Timestamp::from_millis(1_767_323_045_678)), "20260102T030405Z");
    }
}
