# The inside of the suite `amtool`; run in a mount namespace of its own.
set -euo pipefail
folder=$(mktemp -d)
mount -t tmpfs tmpfs /usr/share
mkdir -p /usr/share/prometheus
cp -r "$PEERS"/root/usr/share/prometheus/. /usr/share/prometheus/
cleanup() { kill -9 $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"; }
trap cleanup EXIT
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
http=$(port) theirs=$(port)
ours=http://127.0.0.1:$http theirs=http://127.0.0.1:$theirs
cat >"$folder/alertmanager.yml" <<YAML
global: {resolve_timeout: 5m}
route:
  receiver: team
  group_by: [alertname]
  group_wait: 0s
  routes:
    - {matchers: ['severity="page"'], receiver: pager, continue: true}
    - {matchers: ['service=~"db|cache"'], receiver: data}
receivers:
  - {name: team, webhook_configs: [{url: 'http://user:hush@127.0.0.1:1/hush'}]}
  - {name: pager}
  - {name: data}
inhibit_rules: [{source_matchers: [alertname=Zone], target_matchers: [alertname=Node], equal: [zone]}]
YAML
cat >"$folder/collector.toml" <<TOML
[node]
name = "watch"
data_dir = "$folder/data"
[gossip]
bind = "127.0.0.1:0"
[http]
bind = "127.0.0.1:$http"
[ingest]
bind = "127.0.0.1:0"
[rules]
files = []
[notify]
file = "$folder/alertmanager.yml"
TOML
start() { "$BIN"/watchfire-collector run --config "$folder/collector.toml" >>"$folder/collector.log" 2>&1 & collector=$!; }
up() { for _ in $(seq 200); do curl -fsS "$1/-/ready" >/dev/null 2>&1 && return; sleep 0.1; done; echo "$1 does not answer"; return 1; }
start
prometheus-alertmanager --config.file="$folder/alertmanager.yml" --storage.path="$folder/theirs" --cluster.listen-address= \
    --web.listen-address="${theirs#http://}" >"$folder/theirs.log" 2>&1 &
up "$ours" || { cat "$folder/collector.log"; exit 1; }
up "$theirs" || { cat "$folder/theirs.log"; exit 1; }

# What differs from run to run: ids, times, and the width of columns that hold them.
same() { sed -E 's/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/ID/g; s/[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+( UTC|Z)/TIME/g; s/ +/ /g'; }
passed=0
# Runs one command against both, and compares what it prints and whether it succeeds.
both() {
    local ours_said theirs_said
    ours_said=$(amtool --alertmanager.url="$ours" "$@" 2>&1 | same; echo "exit ${PIPESTATUS[0]}")
    theirs_said=$(amtool --alertmanager.url="$theirs" "$@" 2>&1 | same; echo "exit ${PIPESTATUS[0]}")
    if [ "$ours_said" != "$theirs_said" ]; then
        echo "amtool $*"
        diff <(echo "$theirs_said") <(echo "$ours_said") | sed 's/^</Alertmanager: /; s/^>/Watchfire:    /'
        return 1
    fi
    passed=$((passed + 1))
}
# Runs one command on the silence of `Quiet` that each server has, with its id for ID.
each() {
    local id
    for server in "$ours" "$theirs"; do
        for id in $(amtool --alertmanager.url="$server" silence query -q alertname=Quiet); do
            amtool --alertmanager.url="$server" "${@/ID/$id}" >/dev/null
        done
    done
}

both cluster show
both alert query
both alert add Node zone=a severity=page instance=1 --annotation=summary='it is "down"' --generator-url=http://prometheus/graph
both alert add Node zone=b service=db
both alert add Zone zone=a
both alert add Quiet
both alert add Ended --end=2020-01-01T00:00:00Z
both silence add Quiet --comment=because --duration=2h --annotation=ticket=7
both silence add alertname=~'None.*' x!=y --comment=regex --author=somebody
both silence add 'a=~(' 'b=c' --comment=broken
both alert query
both alert query -a -s -i -u
both alert query -o extended
both alert query -s
both alert query -i
both alert query zone=a
both alert query 'alertname=~N.*' 'zone!=a'
both alert query -r 'pag.*'
both alert query -r data
both silence query
both silence query -o extended
both silence query -o simple alertname=Quiet
both silence query --created-by=somebody
both silence query --within=90m
both silence query --expired
both config routes test severity=page service=db
both config routes test --tree service=db
both config routes test --verify.receivers=team x=y
both config routes test --verify.receivers=data x=y
both config routes show
both silence expire 00000000-0000-4000-8000-000000000000
both silence expire nope
each silence update ID --duration=5h --comment=longer
both silence query
for server in "$ours" "$theirs"; do amtool --alertmanager.url="$server" silence query -o json >"$folder/${server##*:}.json"; done
each silence expire ID
both silence query
both silence query --expired
both alert query
for server in "$ours" "$theirs"; do amtool --alertmanager.url="$server" silence import "$folder/${server##*:}.json" >/dev/null; done
both silence query
both silence query --expired

# What only we have to show: no secret, and silences that outlive kill -9.
amtool --alertmanager.url="$ours" config show >"$folder/shown.yml"
grep -q '<secret>' "$folder/shown.yml"
! grep -q hush "$folder/shown.yml"
amtool --alertmanager.url="$ours" silence query -o json >"$folder/before.json"
kill -9 "$collector"
wait "$collector" 2>/dev/null || true
start
up "$ours"
amtool --alertmanager.url="$ours" silence query -o json >"$folder/after.json"
cmp "$folder/before.json" "$folder/after.json"
both alert query
echo "amtool: $passed commands say the same of both"

# An Alertmanager that is there already is told of what the rules here fire, and when it is over.
cat >"$folder/own.yml" <<YAML
groups: [{name: own, interval: 1s, rules: [{alert: Forwarded, expr: 'vector(7) > 5', labels: {severity: page}, annotations: {summary: 'it is {{ \$value }}'}}]}]
YAML
sed -i "s|^files = .*|files = [\"$folder/own.yml\"]\nexternal_labels = { cluster = \"eu\", replica = \"a\" }|" "$folder/collector.toml"
cat >>"$folder/collector.toml" <<TOML
[[alertmanager]]
name = "theirs"
url = "$theirs"
alert_relabel_configs = [{ regex = "replica", action = "labeldrop" }]
TOML
curl -fsS -X POST "$ours/-/reload"
# Rules judge once the fleet has reported; this is the fleet.
cat >"$folder/agent.toml" <<TOML
[node]
name = "one"
data_dir = "$folder/agent"
[gossip]
bind = "127.0.0.1:0"
join = ["$(curl -fsS "$ours/v1/members" | jq -r '.items[0].addr')"]
[http]
bind = "127.0.0.1:0"
TOML
"$BIN"/watchfire-agent run --config "$folder/agent.toml" >"$folder/agent.log" 2>&1 &
told() { amtool --alertmanager.url="$theirs" alert query -o json alertname=Forwarded; }
within() { for _ in $(seq 300); do "$@" && return; sleep 0.1; done; echo "never: $*"; told; tail -n 20 "$folder/collector.log"; return 1; }
fires() { [ "$(told | jq -c '.[] | [.labels.cluster, .labels.replica, .labels.severity, .annotations.summary]')" = '["eu",null,"page","it is 7"]' ]; }
over() { [ "$(told | jq length)" = 0 ]; }
within fires
sed -i 's/vector(7)/vector(3)/' "$folder/own.yml"
curl -fsS -X POST "$ours/-/reload"
within over
echo "an Alertmanager is told of the alerts of the rules"
