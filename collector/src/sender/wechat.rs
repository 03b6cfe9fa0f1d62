//! `wechat_configs`: a token is asked for with the application's secret and kept while it holds, the message is sent with it.
//!
//! <https://developer.work.weixin.qq.com/document/path/91039>, <https://developer.work.weixin.qq.com/document/path/90236>

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;
use watchfire_collector_core::alertmanager::IntegrationConfig;
use watchfire_collector_core::alertmanager::receiver::WeChat;
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};

use super::client::{Answer, escaped, group_id, secrets};
use super::{Context, failed};

/// How long a token is used; it holds for two hours.
const TOKEN_TIME: Duration = Duration::from_secs(7000);
/// Tokens kept at a time; a configuration has one for each application.
const MAX_TOKENS: usize = 64;
/// Codes that tell of a token that does not hold any more.
const STALE: [i64; 3] = [40001, 40014, 42001];
/// Codes of the service's own that pass: busy, too many requests.
const PASSING: [i64; 2] = [-1, 45009];
/// Characters of an error that go into a reason.
const MAX_ERROR_CHARS: usize = 200;

/// Tokens by the service, the company and the secret that they were given for, of which only a hash is kept.
#[derive(Default)]
pub(super) struct Tokens(Mutex<BTreeMap<String, (String, Instant)>>);

impl Tokens {
    fn get(&self, key: &str) -> Option<String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).filter(|(_, since)| since.elapsed() < TOKEN_TIME).map(|(token, _)| token.clone())
    }

    fn keep(&self, key: String, token: String) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (_, since)| since.elapsed() < TOKEN_TIME);
        if kept.len() < MAX_TOKENS {
            kept.insert(key, (token, Instant::now()));
        }
    }

    fn forget(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::WeChat(wechat) = &delivery.integration.config else {
        return failed(false, "the integration sends nothing to WeCom");
    };
    let Body::Json(body) = &delivery.body;
    match post(context, wechat, body).await {
        Ok(outcome) | Err(outcome) => outcome,
    }
}

async fn post(context: &Context, wechat: &WeChat, body: &str) -> Result<DeliveryOutcome, DeliveryOutcome> {
    let folder = context.folder.load_full();
    let passing = |reason| failed(true, reason);
    let secret = secrets::read(&wechat.secret, &folder).await.map_err(passing)?;
    let base = wechat.url.expose().trim_end_matches('/');
    let key = group_id(&format!("{base} {} {secret}", wechat.corp));
    let token = match context.wechat.get(&key) {
        Some(token) => token,
        None => {
            let (corp, own) = (escaped(&wechat.corp), escaped(&secret));
            let url = format!("{base}/gettoken?corpid={corp}&corpsecret={own}");
            let request = context.clients.prepare(&wechat.http, &folder).await.map_err(passing)?;
            let answer = request.hiding(own).hiding(secret).ask(Method::GET, url, String::new()).await?;
            let token = token_of(&answer)?;
            context.wechat.keep(key.clone(), token.clone());
            token
        }
    };
    let url = format!("{base}/message/send?access_token={}", escaped(&token));
    let request = context.clients.prepare(&wechat.http, &folder).await.map_err(passing)?;
    let answer = request.hiding(token).ask_json(url, body.to_owned()).await?;
    let (code, error) = outcome_of(&answer)?;
    if STALE.contains(&code) {
        context.wechat.forget(&key);
    }
    Ok(match code {
        0 => DeliveryOutcome::Ok,
        code => failed(STALE.contains(&code) || PASSING.contains(&code), format!("WeCom answers {code}: {error}")),
    })
}

fn token_of(answer: &Answer) -> Result<String, DeliveryOutcome> {
    let (code, error) = outcome_of(answer)?;
    let parsed: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    match parsed["access_token"].as_str().filter(|token| !token.is_empty()) {
        Some(token) if code == 0 => Ok(token.to_owned()),
        _ => Err(failed(PASSING.contains(&code), format!("WeCom gives no token, it answers {code}: {error}"))),
    }
}

/// The code of an answer, 0 for success, and what it says.
fn outcome_of(answer: &Answer) -> Result<(i64, String), DeliveryOutcome> {
    let parsed: Value = serde_json::from_str(&answer.text).map_err(|_| failed(true, "the answer is no JSON"))?;
    let error = parsed["errmsg"].as_str().unwrap_or_default().chars().take(MAX_ERROR_CHARS).collect();
    Ok((parsed["errcode"].as_i64().unwrap_or_default(), error))
}
