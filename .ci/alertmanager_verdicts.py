"""Whether the collector takes and refuses what Alertmanager does: its own configuration test files with their known
verdicts where they lie beside the project, and small files held against amtool where that is at hand."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

collector = os.path.join(os.environ["BIN"], "watchfire-collector")
data = pathlib.Path(sys.argv[1])
amtool = shutil.which("amtool")
# Small files, what stands in their one webhook or beside it.
TAIL = "route: {receiver: r}\nreceivers: [{name: r, %s}]\n"
HOOK = "webhook_configs: [{url: 'http://h/', http_config: {%s}}]"
OAUTH2 = "oauth2: {client_id: a, client_secret: b, token_url: 'http://t/', %s}"
SNS = "sns_configs: [{topic_arn: a, sigv4: {%s}}]"
SMALL = {
    "payload": TAIL % "webhook_configs: [{url: 'http://h/', payload: {a: '{{ .Status }}', b: [1, '{{ len .Alerts }}']}}]",
    "payload text": TAIL % "webhook_configs: [{url: 'http://h/', payload: '{{ . | toJson }}'}]",
    "url template": TAIL % "webhook_configs: [{url: 'http://h/{{ .Status }}'}]",
    "url template wrong": TAIL % "webhook_configs: [{url: 'http://h/{{ .Status'}]",
    "oauth2": TAIL % (HOOK % (OAUTH2 % "scopes: [a], endpoint_params: {b: c}, tls_config: {ca_file: x}, proxy_url: 'http://p/'")),
    "oauth2 beside basic_auth": TAIL % (HOOK % ("basic_auth: {username: a}, " + OAUTH2 % "")),
    "oauth2 without an id": TAIL % (HOOK % "oauth2: {client_secret: b, token_url: 'http://t/'}"),
    "oauth2 with two secrets": TAIL % (HOOK % (OAUTH2 % "client_secret_file: x")),
    "max_version": TAIL % (HOOK % "tls_config: {max_version: TLS12, server_name: a}"),
    "max_version below": TAIL % (HOOK % "tls_config: {max_version: TLS12, min_version: TLS13}"),
    "max_version unknown": TAIL % (HOOK % "tls_config: {max_version: TLS14}"),
    "role_arn": TAIL % (SNS % "role_arn: a, external_id: b, use_fips_sts_endpoint: true"),
    "external_id alone": TAIL % (SNS % "external_id: b"),
    "cram-md5": TAIL % "email_configs: [{to: a@b, from: a@b, smarthost: 'h:25', auth_username: u, auth_secret: s}]",
    "cram-md5 twice": TAIL % "email_configs: [{to: a@b, from: a@b, smarthost: 'h:25', auth_secret: s, auth_secret_file: f}]",
    "unknown key": TAIL % "webhook_configs: [{url: 'http://h/', urls: x}]",
    "duplicate receiver": "route: {receiver: r}\nreceivers: [{name: r}, {name: r}]\n",
    "undefined receiver": "route: {receiver: q}\nreceivers: [{name: r}]\n",
    "duplicate key": "route: {receiver: r}\nroute: {receiver: r}\nreceivers: [{name: r}]\n",
    "tracing": TAIL % "webhook_configs: [{url: 'http://h/'}]" + "tracing: {endpoint: 'h:4317', client_type: grpc, insecure: true}\n",
    "event_recorder": TAIL % "webhook_configs: [{url: 'http://h/'}]" + "event_recorder: {file_outputs: [{path: x}]}\n",
}


def ours(path, folder):
    config = folder / "collector.toml"
    config.write_text(f'[rules]\nfiles = []\n[remediation]\nfiles = []\n[notify]\nfile = "{path.resolve()}"\n')
    done = subprocess.run([collector, "check-config", "--config", config], capture_output=True, text=True)
    # Any other end, such as a panic's, is no verdict.
    return {0: "good", 1: "bad"}.get(done.returncode, f"ended with {done.returncode}"), done.stderr


def theirs(path):
    done = subprocess.run([amtool, "check-config", path], capture_output=True, text=True)
    return "good" if done.returncode == 0 else "bad", done.stdout + done.stderr


# What the collector may know better: mistakes that Alertmanager only finds, or passes over, once it has to notify.
STRICTER = {"max_version below", "url template wrong", "cram-md5 twice"}
wrong, compared, held = 0, 0, 0
with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    if data.is_dir():
        for file, verdict in sorted(json.loads((data / "verdicts.json").read_text()).items()):
            found, said = ours(data / file, folder)
            compared += 1
            if found != verdict:
                wrong += 1
                print(f"{file}: Alertmanager says {verdict}, the collector {found}\n{said}")
    else:
        print("no conformance data beside the project: nothing to compare with")
    for title, text in SMALL.items() if amtool else ():
        path = folder / "alertmanager.yml"
        path.write_text(text)
        (verdict, words), (found, said) = theirs(path), ours(path, folder)
        held += 1
        if found != verdict and not (title in STRICTER and found == "bad"):
            wrong += 1
            print(f"{title}: amtool says {verdict}, the collector {found}\n{words}\n{said}")
print(f"{compared} of Alertmanager's configuration files, {held} small ones held against amtool, {wrong} verdicts differ")
sys.exit(1 if wrong else 0)
