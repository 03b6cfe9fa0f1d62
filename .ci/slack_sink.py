"""A Slack that takes what its documentation says and nothing else: incoming webhooks, chat.postMessage, chat.update.

https://docs.slack.dev/reference/methods/chat.postMessage, https://docs.slack.dev/reference/methods/chat.update,
https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments
"""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "xoxb-1234-secret"
HOOK = "/services/T0/B0/t0ken"
CHANNEL = "C024BE91L"
POST = {"channel", "text", "attachments", "username", "icon_emoji", "icon_url", "link_names"}
UPDATE = {"channel", "ts", "text", "attachments", "link_names"}
ATTACHMENT = {
    "fallback", "color", "pretext", "title", "title_link", "text", "fields", "actions", "callback_id", "image_url",
    "thumb_url", "footer", "mrkdwn_in",
}
ACTION = {"type", "text", "url", "style", "name", "value", "confirm"}
# What a text may hold beside words: links, a mention that the configuration itself writes, and the three entities.
MARKUP = re.compile(r"<(https?://[^<>|\s]+(\|[^<>]*)?|!here)>|&(amp|lt|gt);")


def check_text(name, text, longest=40_000):
    assert isinstance(text, str), f"{name} is no text"
    assert len(text) <= longest, f"{name} is too long"
    assert not re.search("[<>&]", MARKUP.sub("", text)), f"{name} holds markup that is none: {text!r}"


def check_url(name, url):
    assert re.fullmatch(r"https?://\S+", url), f"{name} is no URL: {url!r}"


def check_attachment(attachment):
    assert set(attachment) <= ATTACHMENT, f"unknown keys {set(attachment) - ATTACHMENT}"
    assert attachment["fallback"], "an attachment needs a fallback"
    for name in ("fallback", "pretext", "text", "footer"):
        check_text(name, attachment.get(name, ""))
    check_text("title", attachment.get("title", ""), 1024)
    for name in ("title_link", "image_url", "thumb_url"):
        if name in attachment:
            check_url(name, attachment[name])
    assert re.fullmatch("good|warning|danger|#[0-9a-fA-F]{6}", attachment.get("color", "good")), "no colour"
    assert set(attachment.get("mrkdwn_in", [])) <= {"pretext", "text", "fields", "fallback"}, "mrkdwn_in"
    for field in attachment.get("fields", []):
        assert set(field) == {"title", "value", "short"} and isinstance(field["short"], bool), f"field {field}"
        check_text("field", field["title"])
        check_text("field", field["value"])
    for action in attachment.get("actions", []):
        assert set(action) <= ACTION and action["type"] == "button" and action["text"], f"action {action}"
        assert ("url" in action) != ("name" in action), f"action {action}"


def check_message(message, keys):
    assert set(message) <= keys, f"unknown keys {set(message) - keys}"
    check_text("text", message.get("text", ""))
    assert message.get("text") or message.get("attachments"), "no_text"
    assert 0 < len(message["attachments"]) <= 100, "attachments"
    for attachment in message["attachments"]:
        check_attachment(attachment)


class Sink:
    """What was taken, in order: (method, message). What was wrong stands in `errors`."""

    def __init__(self):
        self.taken = []
        self.errors = []
        self.busy = 1
        self.posted = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def handler(sink):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                status, kind, answer = sink.take(self.path, self.headers, body)
                self.send_response(status)
                self.send_header("content-type", kind)
                if status == 429:
                    self.send_header("retry-after", "1")
                answer = answer.encode()
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        return Handler

    def take(self, path, headers, body):
        try:
            return self.judge(path, headers, json.loads(body))
        except (AssertionError, KeyError, ValueError) as error:
            self.errors.append(f"{path}: {error!r}")
            return 200, "application/json; charset=utf-8", json.dumps({"ok": False, "error": "invalid_arguments"})

    def judge(self, path, headers, message):
        assert headers["content-type"].startswith("application/json"), "content type"
        if path == HOOK:
            check_message(message, POST)
            self.taken.append(("webhook", message))
            return 200, "text/html", "ok"
        assert headers["authorization"] == f"Bearer {TOKEN}", "not_authed"
        if self.busy:
            self.busy -= 1
            return 429, "application/json; charset=utf-8", json.dumps({"ok": False, "error": "ratelimited"})
        if path == "/api/chat.postMessage":
            check_message(message, POST)
            assert message["channel"], "channel_not_found"
            ts = f"1700000000.{len(self.posted):06}"
        elif path == "/api/chat.update":
            check_message(message, UPDATE)
            ts = message["ts"]
            assert message["channel"] == CHANNEL, "channel_not_found"
            assert ts in self.posted, "message_not_found"
        else:
            raise ValueError("unknown_method")
        self.posted[ts] = message
        self.taken.append((path.rsplit("/", 1)[1], message))
        answer = {"ok": True, "channel": CHANNEL, "ts": ts, "message": message}
        return 200, "application/json; charset=utf-8", json.dumps(answer)
