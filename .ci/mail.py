"""Mails and Slack messages of the collector, from a rule that fires to the mailbox and the channel, through kill -9."""

import email
import email.policy
import http.server
import json
import mailbox
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import mail_server
import slack_sink

# A host that calls itself this must not become a header, a recipient, an end of a mail, a tag, a mention or a command.
HOSTILE = "x\"'\r\nBcc: all@example.org\r\n.\r\nQUIT\r\n<script>alert(1)</script><!channel>$(reboot)=?utf-8?q?=0A?=é\u202e"
ONE_LINE = "x\"'  Bcc: all@example.org  .  QUIT  <script>alert(1)</script><!channel>$(reboot)= ?utf-8?q?=0A?=é\ufffd"

RECEIVERS = """
global:
  smtp_smarthost: localhost:{starttls}
  smtp_from: Watchfire <watch@example.org>
  smtp_hello: watch.example.org
  smtp_auth_username: {user}
  smtp_auth_password_file: password
  smtp_tls_config: {{ca_file: {folder}/mail/ca.pem}}
templates: [own.tmpl]
route: {{receiver: team, group_wait: 0s, group_interval: 2s, repeat_interval: 1h, group_by: [alertname]}}
receivers:
  - name: team
    email_configs:
      - {{to: hang@example.org, smarthost: '127.0.0.1:{silent}', send_resolved: true}}
      - {{to: ops@example.org, send_resolved: true, threading: {{enabled: true, thread_by_date: none}}}}
      - to: 'night@example.org, nobody@example.org, "Ops, all" <all@example.org>'
        send_resolved: true
        smarthost: 127.0.0.1:{implicit}
        force_implicit_tls: true
        tls_config: {{ca_file: {folder}/mail/ca.pem, server_name: mail.test}}
        headers: {{Subject: '{{{{ template "own.subject" . }}}}'}}
        text: ''
        html: '<p title="{{{{ .CommonLabels.instance }}}}">{{{{ .Status }}}}</p>'
      - {{to: plain@example.org, smarthost: 'localhost:{starttls}', require_tls: false, send_resolved: true}}
    slack_configs:
      - api_url: http://127.0.0.1:{slack}{hook}
        channel: '#alerts'
        send_resolved: true
        title: '{{{{ template "slack.default.title" . }}}}'
        text: '{{{{ range .Alerts }}}}<{{{{ .GeneratorURL }}}}|{{{{ .Labels.instance }}}}>{{{{ end }}}}'
        pretext: '<!here>'
        fields: [{{title: Instance, value: '{{{{ .CommonLabels.instance }}}}', short: true}}]
        actions: [{{type: button, text: Source, url: '{{{{ (index .Alerts 0).GeneratorURL }}}}'}}]
      - app_token: {token}
        app_url: http://127.0.0.1:{slack}/api/chat.postMessage
        channel: '#alerts'
        send_resolved: true
        update_message: true
        icon_emoji: ':fire:'
    webhook_configs:
      - url: http://127.0.0.1:{silent}/
      - url: http://127.0.0.1:{webhook}/
"""
OWN = '{{ define "own.subject" }}{{ .Status }} {{ .CommonLabels.instance }}{{ end }}'


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what, find, seconds=30):
    """Returns what is found as soon as it is."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = find()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


class Webhook:
    """Remembers the status of each message, in which the host's name has to stand as it is."""

    def __init__(self):
        taken = self.taken = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                message = json.loads(self.rfile.read(int(self.headers["content-length"])))
                taken.append(message["status"] if message["commonLabels"]["instance"] == HOSTILE else message)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Collector:
    """A collector and one agent, without which it would wait for data before it evaluates rules."""

    def __init__(self, folder, binaries):
        self.folder, self.binaries = folder, Path(binaries)
        self.ports = [free_port() for _ in range(5)]
        gossip, _, _, own, api = (f"127.0.0.1:{port}" for port in self.ports)
        (folder / "agent.toml").write_text(f"""
[node]
name = "web-1"
data_dir = "{folder}/agent"
[gossip]
bind = "{own}"
profile = "local"
join = ["{gossip}"]
[http]
bind = "{api}"
[collect]
interval = "1s"
""")
        self.agent = self.run("watchfire-agent", "agent")

    def run(self, program, name):
        log = open(self.folder / f"{name}.log", "a")
        command = [self.binaries / program, "run", "--config", self.folder / f"{name}.toml"]
        return subprocess.Popen(command, stdout=log, stderr=log)

    def rule(self, fires):
        rule = {
            "alert": "Hostile",
            "expr": "vector(1)" if fires else "vector(1) > 2",
            "labels": {"instance": HOSTILE, "severity": "page"},
            "annotations": {"summary": "{{ $labels.instance }} is down", "description": ".\n..\n. dots"},
        }
        groups = {"groups": [{"name": "g", "interval": "1s", "rules": [rule]}]}
        (self.folder / "rules.yml").write_text(json.dumps(groups))

    def start(self):
        gossip, api, ingest = (f"127.0.0.1:{port}" for port in self.ports[:3])
        (self.folder / "collector.toml").write_text(f"""
[node]
name = "watch"
data_dir = "{self.folder}/data"
[gossip]
bind = "{gossip}"
profile = "local"
[http]
bind = "{api}"
[ingest]
bind = "{ingest}"
[rules]
files = ["{self.folder}/rules.yml"]
[notify]
file = "{self.folder}/alertmanager.yml"
""")
        self.process = self.run("watchfire-collector", "collector")

    def waiting(self):
        """How many notifications are on their way."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[1]}/v1/status", timeout=5) as answer:
            return json.load(answer)["notifications"]["queued"]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def mails(server):
    if not server.box.exists():
        return []
    parse = lambda file: email.message_from_binary_file(file, policy=email.policy.default)
    return list(mailbox.mbox(server.box, factory=parse, create=False))


def to(found, address):
    return [mail for mail in found if address in str(mail["envelope-to"])]


def part(mail, kind):
    return mail.get_body((kind,)).get_content()


def check_mails(found, status):
    """The mails of one state of the alert."""
    [ops] = to(found, "ops@example.org")
    assert ops.get_content_type() == "multipart/alternative", ops.get_content_type()
    count = ":1" if status == "FIRING" else ""
    assert ops["subject"] == f"[{status}{count}] Hostile ({ONE_LINE} page)", ops["subject"]
    assert (ops["from"], ops["to"], ops["bcc"]) == ("Watchfire <watch@example.org>", "ops@example.org", None)
    assert ops["references"] == ops["in-reply-to"] and ops["references"].startswith("<group."), ops["references"]
    lines = HOSTILE.replace("\r\n", "\n").replace("\u202e", "\ufffd")
    for kind in ("plain", "html"):
        assert not ops.get_body((kind,)).defects
    text = part(ops, "plain")
    assert f"instance = {lines}\n" in text and "\n  .\n..\n. dots\n" in text, text
    html = part(ops, "html")
    assert "<script" not in html and "&lt;script&gt;alert(1)&lt;/script&gt;&lt;!channel&gt;$(reboot)" in html, html
    assert "esmtpsa" in str(ops["received"]) and "(TLS" in str(ops["received"]), ops["received"]
    [night] = to(found, "night@example.org")
    assert night.get_content_type() == "text/html" and night["subject"] == f"{status.lower()} {ONE_LINE}", night["subject"]
    assert "all@example.org" in str(night["envelope-to"]) and "nobody@example.org" not in str(night["envelope-to"])
    assert night["to"] == 'night@example.org, nobody@example.org, "Ops, all" <all@example.org>', night["to"]
    assert "<script" not in part(night, "html") and "esmtpsa" in str(night["received"])
    return ops["references"], ops["message-id"]


def main():
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "mail").mkdir()
    starttls, implicit = free_port(), free_port()
    server = mail_server.Exim(folder / "mail", os.environ["PEERS"], starttls, implicit)
    slack, webhook = slack_sink.Sink(), Webhook()
    # It takes connections and never says a word.
    silent = socket.create_server(("127.0.0.1", 0), backlog=128)
    receivers = RECEIVERS.format(
        folder=folder, starttls=starttls, implicit=implicit, silent=silent.getsockname()[1], slack=slack.port,
        hook=slack_sink.HOOK, token=slack_sink.TOKEN, webhook=webhook.port, user=mail_server.USER,
    )
    (folder / "alertmanager.yml").write_text(receivers)
    (folder / "own.tmpl").write_text(OWN)
    (folder / "password").write_text(mail_server.PASSWORD + "\n")
    collector = Collector(folder, sys.argv[1])
    try:
        wait_for("exim listens", lambda: "listening" in server.log())
        collector.rule(fires=True)
        collector.start()
        wait_for("two mails", lambda: len(mails(server)) == 2)
        first = check_mails(mails(server), "FIRING")
        wait_for("two messages in Slack", lambda: len(slack.taken) == 2)
        wait_for("the webhook", lambda: webhook.taken == ["firing"])
        assert sorted(method for method, _ in slack.taken) == ["chat.postMessage", "webhook"], slack.taken
        told = lambda: (folder / "collector.log").read_text()
        wait_for("what was refused is told", lambda: "authentication required" in told())
        # A delivery whose outcome is not kept yet is made again after a crash, as it should be.
        wait_for("only what hangs or was refused waits", lambda: collector.waiting() == 3)

        # What Slack called its message is known after a crash: the message is changed, not followed by another one.
        collector.kill()
        collector.rule(fires=False)
        collector.start()
        wait_for("four mails", lambda: len(mails(server)) == 4)
        second = check_mails(mails(server)[2:], "RESOLVED")
        assert first[0] == second[0] and first[1] != second[1], (first, second)
        wait_for("four messages in Slack", lambda: len(slack.taken) == 4)
        wait_for("the webhook again", lambda: webhook.taken == ["firing", "resolved"])
        [change] = [message for method, message in slack.taken if method == "chat.update"]
        assert change["attachments"][0]["color"] == "good", change
        assert list(slack.posted) == [change["ts"]], "one message of the bot, in its last state"
        assert not slack.errors, slack.errors
        assert mail_server.PASSWORD not in told() and slack_sink.TOKEN not in told(), "a secret stands in the log"
        print("mails:", *(f"{mail['envelope-to']}: {mail['subject']!r}" for mail in mails(server)), sep="\n  ")
        print("slack:", *(f"{method}: {message['attachments'][0]['title']!r}" for method, message in slack.taken), sep="\n  ")
    except BaseException:
        print(server.log(), (folder / "collector.log").read_text()[-6000:], slack.errors, slack.taken, sep="\n")
        raise
    finally:
        collector.kill()
        collector.agent.terminate()
        collector.agent.wait()
        server.stop()
    subprocess.run(["rm", "-rf", folder], check=True)


main()
