#!/usr/bin/env bash
# A demonstration in under a minute: the history of this machine's packages as an event store.
#
#     demo.sh BUILD_DIRECTORY [STORE]
#
# BUILD_DIRECTORY is what meson and ninja built in; STORE is made if it is not there (else
# ./stele-data). Run it again: it stores only what has happened since.
set -euo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
build=$1
store=${2:-${STELE_STORE:-stele-data}}
ph=$build/examples/package-history/package-history
stele=$build/stele
[ -e "$stele" ] || stele=$build/src/cli/stele
if ! [ -x "$ph" ]; then
    echo "demo: $ph is not there; build it with ./dev build, or ninja -C $build" >&2
    exit 1
fi
export STELE_STORE=$store

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\033[1m' dim=$'\033[2m' off=$'\033[0m'
else
    bold='' dim='' off=''
fi

# A heading with the command that answers it.
ask() {
    printf '\n%s%s%s\n' "$bold" "$1" "$off"
    shift
    [ $# -eq 0 ] || printf '%s  $ package-history %s%s\n' "$dim" "$*" "$off"
    [ $# -eq 0 ] || "$ph" "$@"
}

printf '%sWhat dpkg did on this machine, as events in %s%s\n' "$bold" "$store" "$off"
"$ph" import

# Dates and a package that this machine can say something about.
sessions=$("$ph" sessions)
if [ "$(wc -l <<<"$sessions")" -gt 1 ]; then
    # The day of the session in the middle: neither all of the history nor nothing.
    day=$(awk 'NR > 1 { print $1 }' <<<"$sessions" | awk '{ d[NR] = $1 } END { print d[int((NR + 1) / 2)] }')
    package=$("$ph" busiest 1 | awk '{ print $1 }')
    ask "When was dpkg at work?" sessions 5
    ask "How many packages were installed on $day, and how many are now?" \
        installed --at "$day" --brief
    "$ph" installed --brief
    ask "What did its last session change?" changes --brief
    ask "Which packages changed most?" busiest 3
    ask "And what happened to the first of them?" history "$package"
else
    package=$("$ph" installed | awk 'NR == 1 { print $1 }')
    ask "There is no log, so all that is known is what dpkg has unpacked, and when."
    "$ph" installed --brief
    [ -z "$package" ] || ask "For example" history "$package"
fi

ask "Is it true? Every package in the log, replayed, against dpkg-query" check

[ -n "$package" ] || package=bash
[ "$store" = stele-data ] || try="  export STELE_STORE=$(printf '%q' "$store")
"
cat <<END

${bold}What to try next${off}
${try-}  $stele read package-$package
  $stele read '\$et-PackageUpgraded' --backwards --limit 5
  $stele streams package-lib
  $stele info
  $stele verify
  $ph installed --at "2026-01-01 12:00" ssl
  $ph help
END
