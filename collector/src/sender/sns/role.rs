//! Keys that are lent with the rights of a role, for those of somebody who may assume it.
//!
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use watchfire_collector_core::alertmanager::http::HttpConfig;
use watchfire_collector_core::alertmanager::receiver::sns::Role;
use watchfire_collector_core::notify::DeliveryOutcome;
use watchfire_shared::time::{Span, Timestamp};
use watchfire_shell::clock::Clock;

use super::super::Context;
use super::super::client::form_text;
use super::endpoint;
use super::signature::{self, Keys};

/// Lent keys that are kept; an installation has few roles.
const MAX_LENT: usize = 64;
/// How long before their end keys are used no more.
const MARGIN: Span = Span::from_seconds(60);
/// Under which name a role is assumed, as its account's records show it.
const SESSION_NAME: &str = "watchfire";

/// The keys that were lent: the role, who assumed it where, the keys and until when they hold.
#[derive(Default)]
pub(in crate::sender) struct Lent(Mutex<Vec<(Borrower, Keys, Timestamp)>>);

type Borrower = (Role, Keys, String);

impl Lent {
    fn get(&self, borrower: &Borrower, now: Timestamp) -> Option<Keys> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(.., until)| now + MARGIN < *until);
        kept.iter().find(|(own, ..)| own == borrower).map(|(_, keys, _)| keys.clone())
    }

    fn put(&self, borrower: Borrower, keys: Keys, until: Timestamp) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push((borrower, keys, until));
        if kept.len() > MAX_LENT {
            kept.remove(0);
        }
    }
}

/// The keys of a role, asked for unless they are known.
///
/// # Errors
/// Why there are none, without a secret in it.
pub(super) async fn assume(
    context: &Context,
    role: &Role,
    http: &HttpConfig,
    region: &str,
    own: Keys,
) -> Result<Keys, String> {
    let borrower = (role.clone(), own, region.to_owned());
    let now = Clock::start().wall();
    if let Some(keys) = context.lent.get(&borrower, now) {
        return Ok(keys);
    }
    let (keys, until) = ask(context, http, &borrower, now).await.map_err(|reason| format!("`role_arn`: {reason}"))?;
    context.lent.put(borrower, keys.clone(), until);
    Ok(keys)
}

async fn ask(
    context: &Context,
    http: &HttpConfig,
    (role, own, region): &Borrower,
    now: Timestamp,
) -> Result<(Keys, Timestamp), String> {
    let mut form = BTreeMap::from(
        [
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", &role.arn),
            ("RoleSessionName", SESSION_NAME),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    form.extend(role.external_id.clone().map(|id| ("ExternalId".to_owned(), id)));
    let url = url(role, region);
    let headers = signature::headers(own, (region, "sts"), &url, &form_text(&form), now)?;
    // Headers, certificates and names are the receiver's, not this service's; only the way out is the same.
    let http = HttpConfig { follow_redirects: false, proxy: http.proxy.clone(), ..HttpConfig::default() };
    let mut request = context.clients.prepare(&http, &context.folder.load_full()).await?.hiding(own.secret.clone());
    if let Some(session) = &own.session {
        request = request.hiding(session.clone());
    }
    let request = request.with_headers(headers)?;
    let answer = request.ask_form(url, &form).await.map_err(|outcome| match outcome {
        DeliveryOutcome::Failed { reason, .. } => reason,
        other => format!("{other:?}"),
    })?;
    read(&answer).ok_or_else(|| "the answer holds no keys".to_owned())
}

/// The service's own address for all of Amazon's programs may be set in the environment.
fn url(role: &Role, region: &str) -> String {
    let environment = || std::env::var("AWS_ENDPOINT_URL_STS").ok().filter(|url| !url.is_empty());
    match role.sts_url.as_ref().map(|url| url.expose().to_owned()).or_else(environment) {
        Some(url) => url,
        // In the government's regions the plain name is such a place itself.
        None if role.fips && !region.starts_with("us-gov-") => endpoint("sts-fips", region),
        None => endpoint("sts", region),
    }
}

/// Reads the answer, which is XML; its four texts hold no markup.
fn read(answer: &str) -> Option<(Keys, Timestamp)> {
    let credentials = between(answer, "Credentials")?;
    let text = |name: &str| between(credentials, name).map(|text| text.trim().to_owned());
    let keys =
        Keys { access: text("AccessKeyId")?, secret: text("SecretAccessKey")?, session: Some(text("SessionToken")?) };
    Some((keys, Timestamp::parse_rfc3339(&text("Expiration")?)?))
}

fn between<'a>(text: &'a str, element: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{element}>"))?;
    rest.split_once(&format!("</{element}>")).map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use watchfire_collector_core::alertmanager::Secret;

    use super::*;

    #[test]
    fn a_role_is_asked_for_in_its_region() {
        let role = |fips: bool, sts_url: Option<Secret>| Role { arn: "a".to_owned(), external_id: None, fips, sts_url };
        let cases = [
            (role(false, None), "eu-west-1", "https://sts.eu-west-1.amazonaws.com/"),
            (role(true, None), "us-east-1", "https://sts-fips.us-east-1.amazonaws.com/"),
            (role(true, None), "us-gov-west-1", "https://sts.us-gov-west-1.amazonaws.com/"),
            (role(false, None), "cn-north-1", "https://sts.cn-north-1.amazonaws.com.cn/"),
            (role(true, Some(Secret::new("http://own/"))), "us-east-1", "http://own/"),
        ];
        for (role, region, expected) in cases {
            assert_eq!(url(&role, region), expected);
        }
    }
}
