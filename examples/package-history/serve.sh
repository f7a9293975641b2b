#!/usr/bin/env bash
# Serves a store, shows how to reach it and what comes live, until Ctrl-C.
#
#     serve.sh BUILD_DIRECTORY [STORE]
#
# STORE is ./stele-data unless told otherwise, as in demo.sh. Without a terminal it ends by itself when
# everything has been shown. The port is $STELE_PORT, else 2113, else, if that is in use, any.
set -euo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
build=$1
store=${2:-${STELE_STORE:-stele-data}}
stele=$build/stele
[ -e "$stele" ] || stele=$build/src/cli/stele
unset STELE_STORE

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\033[1m' off=$'\033[0m'
else
    bold='' off=''
fi

log=$(mktemp)
server='' tail=''
finish() {
    # Both may be gone already.
    [ -z "$tail" ] || kill "$tail" 2>/dev/null || true
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -f "$log"
}
trap finish EXIT

# start PORT: the server's standard output is read until it says where it listens.
start() {
    local line
    exec 3< <(exec "$stele" serve --insecure --store "$store" --listen localhost --port "$1" 2>"$log")
    server=$!
    while read -r -u 3 line; do
        case $line in
        'stele is ready: '*)
            line=${line#*: }
            line=${line%% *}
            port=${line##*:}
            return 0
            ;;
        esac
    done
    return 1
}
if ! start "${STELE_PORT:-2113}" && ! { grep -q 'in use' "$log" && start 0; }; then
    cat "$log" >&2
    exit 1
fi

cat <<END

${bold}The same store, served on this machine${off}

  a browser             http://localhost:$port/
  KurrentDB's clients   kurrentdb://localhost:$port?tls=false   (older ones: esdb://…)
  libstele, stele       stele://localhost:$port
  Prometheus            http://localhost:$port/metrics

In another terminal:
  $stele append order-1 --type OrderPlaced --data '{"total": 12}' --store stele://localhost:$port
  $stele read order-1 --store stele://localhost:$port

END

# The last few events, over the network, and then what comes.
from=$("$stele" read '$all' --backwards --limit 3 --exclude-system --json --store "stele://localhost:$port" |
    sed -nE 's/.*"position": ?"?([0-9]+)"?.*/\1/p' | tail -n 1)
how=()
if [ -t 1 ]; then
    echo "${bold}Live, until Ctrl-C:${off}"
else
    echo "${bold}Live:${off}"
    how=(--limit 3 --timeout 10s)
fi
ending=''
trap 'ending=1; kill "$tail" 2>/dev/null || true' INT TERM HUP
"$stele" tail '$all' --exclude-system --from "${from:-start}" "${how[@]}" \
    --store "stele://localhost:$port" &
tail=$!
wait "$tail" || true
trap '' INT TERM HUP
kill "$server" 2>/dev/null || true
status=0
wait "$server" || status=$?
server='' tail=''
if [ "$status" -ne 0 ]; then
    cat "$log" >&2
    exit "$status"
fi
printf '\nThe server has ended%s; the store is %s.\n' "${ending:+ as you asked}" "$store"
