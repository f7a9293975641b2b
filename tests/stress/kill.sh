#!/usr/bin/env bash
# A writer that is killed at any moment (kill -9) has kept what it promised.
#
# Method: a store lives for ten rounds. In each a writer with five busy threads is killed, or now
# and then told to stop and killed while it does; then the judge opens the store. A follower reads
# beside all of them, and is itself killed at times, to go on where it was.
#
# STELE_KILL_ROUNDS=500 for a long run. Without it: 60, or as many as fit into 33 seconds.
. "$(dirname "${BASH_SOURCE[0]}")/rounds.sh"

life=10
rounds=${STELE_KILL_ROUNDS:-60}
seconds=${STELE_KILL_ROUNDS:+100000}
seconds=${seconds:-33}

# The follower has to be there, always.
see_follower() {
    kill -0 "$follower" 2>/dev/null || { echo "the follower has ended" >>"$work/log"; return 1; }
}

kill_writer() {
    local status=0
    # Early ones hit recovery and what is sent again, late ones the busy writer.
    if [ $((RANDOM % 4)) -eq 0 ]; then pause 1 60; else pause 100 600; fi
    if [ $((RANDOM % 4)) -eq 0 ]; then
        kill -TERM "$writer" 2>/dev/null
        [ $((RANDOM % 2)) -eq 0 ] || pause 1 60
    fi
    kill -9 "$writer" 2>/dev/null
    wait "$writer" 2>/dev/null || status=$?
    writer=
    # 143: it was asked to stop before it listened.
    case $status in
    0 | 137 | 143) ;;
    *) echo "the writer ended with $status" >>"$work/log"; return 1 ;;
    esac
}

one_round() {
    local round=$1
    local -a how=()
    if [ -z "$follower" ] || [ $((RANDOM % 8)) -eq 0 ]; then
        stop "$follower"
        start_follower
    fi
    [ $((round % life)) -eq 0 ] || how=(retry=$((round - 1)))
    start_writer "$round" appends=1500 "${how[@]}"
    kill_writer || return 1
    how=()
    [ $((round % 3)) -ne 0 ] || how+=(beside)
    [ $((round % life)) -ne $((life - 1)) ] || how+=(whole)
    judge "${how[@]}" && see_follower
}

done=0
while [ "$done" -lt "$rounds" ] && [ "$SECONDS" -lt "$seconds" ]; do
    status=0
    : >"$work/log"
    if [ $((done % life)) -eq 0 ]; then
        stop "$follower"
        follower=
        new_store
    fi
    one_round "$done" 2>>"$work/log" || status=$?
    done=$((done + 1))
    if [ "$status" -ne 0 ]; then
        point "round $done" 1
        break
    fi
    if [ $((done % life)) -eq 0 ]; then
        point "kills up to number $done lost, doubled, tore nothing" 0
        echo "# $(tail -n 1 "$work/log")"
    fi
done
point "$done rounds in $SECONDS seconds" "$((done == 0))"
conclude
