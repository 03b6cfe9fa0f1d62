//! `sns_configs`: a form is posted to Amazon's notification service, signed with its fourth signature.
//!
//! <https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>. Keys come from the configuration, else from the profile's
//! place in the shared file, else from the environment, as for Amazon's own programs; a role is assumed with them.

mod role;

mod signature;

use std::collections::BTreeMap;
use std::path::PathBuf;

use watchfire_collector_core::alertmanager::IntegrationConfig;
use watchfire_collector_core::alertmanager::receiver::Sns;
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};
use watchfire_shell::clock::Clock;
use watchfire_shell::files;

use super::client::{form_text, group_id};
use super::{Context, failed};
pub(super) use role::Lent;
use signature::Keys;

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::Sns(sns) = &delivery.integration.config else {
        return failed(false, "the integration publishes nothing");
    };
    let Body::Json(body) = &delivery.body;
    let mut form: BTreeMap<String, String> = match serde_json::from_str(body) {
        Ok(form) => form,
        Err(error) => return failed(false, error.to_string()),
    };
    form.extend(
        [("Action", "Publish"), ("Version", "2010-03-31")].map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    // Topics that keep an order need to know what belongs together, and what is said twice.
    if form.get("TopicArn").is_some_and(|topic| topic.ends_with(".fifo")) {
        let message = form.get("Message").cloned().unwrap_or_default();
        form.insert("MessageGroupId".to_owned(), group_id(&delivery.group_key));
        form.insert("MessageDeduplicationId".to_owned(), group_id(&format!("{}{message}", delivery.group_key)));
    }
    match post(context, sns, &form).await {
        Ok(outcome) => outcome,
        Err(reason) => failed(true, reason),
    }
}

async fn post(context: &Context, sns: &Sns, form: &BTreeMap<String, String>) -> Result<DeliveryOutcome, String> {
    let region = region(sns, form)?;
    let url = match &sns.url {
        Some(url) => url.expose().to_owned(),
        None => endpoint("sns", &region),
    };
    let own = keys(sns).await?;
    let keys = match &sns.signing.role {
        Some(role) => role::assume(context, role, &sns.http, &region, own).await?,
        None => own,
    };
    let body = form_text(form);
    let now = Clock::start().wall();
    let headers = signature::headers(&keys, (&region, "sns"), &url, &body, now)?;
    let folder = context.folder.load_full();
    let mut request = context.clients.prepare(&sns.http, &folder).await?.hiding(keys.secret);
    if let Some(session) = keys.session {
        request = request.hiding(session);
    }
    Ok(request.with_headers(headers)?.post_form(url, form).await)
}

/// Where a service of a region is.
fn endpoint(service: &str, region: &str) -> String {
    let country = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://{service}.{region}.amazonaws.com{country}/")
}

/// The configuration's region, or that of the topic's name, `arn:aws:sns:<region>:...`, or the environment's.
fn region(sns: &Sns, form: &BTreeMap<String, String>) -> Result<String, String> {
    let arn = form.get("TopicArn").or_else(|| form.get("TargetArn")).and_then(|arn| arn.split(':').nth(3));
    let environment = || ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(|name| std::env::var(name).ok());
    let region = sns.signing.region.clone().or_else(|| arn.map(str::to_owned)).or_else(environment);
    let region = region.filter(|region| !region.is_empty()).ok_or("`sigv4.region` is not set")?;
    let plain = |char: char| char.is_ascii_alphanumeric() || char == '-';
    if region.chars().all(plain) { Ok(region) } else { Err(format!("{region:?} is no region")) }
}

async fn keys(sns: &Sns) -> Result<Keys, String> {
    if let Some((access, secret)) = &sns.signing.keys {
        return Ok(Keys { access: access.clone(), secret: secret.expose().to_owned(), session: None });
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if sns.signing.profile.is_none()
        && let (Some(access), Some(secret)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"))
    {
        return Ok(Keys { access, secret, session: variable("AWS_SESSION_TOKEN") });
    }
    let profile = sns.signing.profile.clone().or_else(|| variable("AWS_PROFILE"));
    let profile = profile.unwrap_or_else(|| "default".to_owned());
    let path = variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    let path = path.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".aws/credentials")));
    let path = path.ok_or("`sigv4` names no keys, nor does the environment")?;
    let shown = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || files::read_text(&path)).await.map_err(|error| error.to_string())?;
    let text = read.map_err(|error| format!("`sigv4` names no keys, nor does the environment: {error}"))?;
    signature::of_profile(&text, &profile).ok_or_else(|| format!("{shown} has no keys of the profile {profile:?}"))
}
