//! WeCom's message. <https://developer.work.weixin.qq.com/document/path/90236>

use serde_json::{Map, Value, json};

use super::message::{Renderer, cut};
use crate::alertmanager::receiver::WeChat;
use crate::template::Escape;

/// WeCom takes 2048 bytes and cuts the rest itself; a character has up to four.
const MAX_MESSAGE_CHARS: usize = 2048;
/// Of the names of those who get it.
const MAX_NAMES_CHARS: usize = 8192;

pub(super) fn render(wechat: &WeChat, renderer: &mut Renderer<'_>) -> Result<String, String> {
    let (kind, escape) = if wechat.markdown { ("markdown", Escape::Markdown) } else { ("text", Escape::None) };
    let content = cut(renderer.text("message", &wechat.message, escape), MAX_MESSAGE_CHARS);
    let mut message = Map::from_iter([
        ("msgtype".to_owned(), Value::from(kind)),
        (kind.to_owned(), json!({ "content": content })),
        ("safe".to_owned(), "0".into()),
    ]);
    for (key, name, template) in [
        ("touser", "to_user", &wechat.to_user),
        ("toparty", "to_party", &wechat.to_party),
        ("totag", "to_tag", &wechat.to_tag),
        ("agentid", "agent_id", &wechat.agent),
    ] {
        let text = cut(renderer.exact(name, template, Escape::None)?, MAX_NAMES_CHARS);
        if !text.is_empty() {
            message.insert(key.to_owned(), text.into());
        }
    }
    Ok(Value::Object(message).to_string())
}
