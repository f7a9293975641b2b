#!/usr/bin/env bash
# A disk that fails one sync or write, or all from then on, makes nobody believe in what is not
# there.
#
# Method: the writer runs with a library between it and the disk that fails the n-th call. Every
# append then ends with "stored", "unknown" or a refusal, nothing is accepted any more by a store
# that is fenced, and reads go on. Reopened on a healthy disk, the judge finds all that was stored
# and nothing that was refused. First every n from 1, to hit each step of opening; then any.
#
# STELE_EIO_ROUNDS=500 for a long run. Without it: 60, or as many as fit into 20 seconds.
. "$(dirname "${BASH_SOURCE[0]}")/rounds.sh"

life=5
swept=24
rounds=${STELE_EIO_ROUNDS:-60}
seconds=${STELE_EIO_ROUNDS:+100000}
seconds=${seconds:-20}
ill=0

one_round() {
    local round=$1 at status=0 again=
    at=$((round / 2 + 1))
    [ "$round" -lt "$swept" ] || at=$((1 + RANDOM % (1 + RANDOM % 3000)))
    local calls=(sync write)
    [ $((round % life)) -eq 0 ] || again=retry=$((round - 1))
    echo "round $round: ${calls[round % 2]} $at" >>"$work/log"
    LD_PRELOAD=$programs/libilldisk.so ILL_CALL=${calls[round % 2]} ILL_AT=$at \
        ILL_ONCE=$((RANDOM % 2)) ASAN_OPTIONS=${ASAN_OPTIONS:-}:verify_asan_link_order=0 \
        timeout -s KILL 300 "$programs/writer" "$store" "$work/notes" "$round" \
        appends=1000 fenced=1 ${again:+"$again"} >>"$work/log" 2>&1 || status=$?
    case $status in
    0) ;;
    10) ill=$((ill + 1)) ;;
    *) echo "the writer ended with $status" >>"$work/log"; return 1 ;;
    esac
    judge beside
}

done=0
while [ "$done" -lt "$rounds" ] && [ "$SECONDS" -lt "$seconds" ]; do
    status=0
    : >"$work/log"
    [ $((done % life)) -ne 0 ] || new_store
    one_round "$done" || status=$?
    done=$((done + 1))
    [ "$status" -eq 0 ] || { point "round $((done - 1))" 1; break; }
done
echo "# $done rounds in $SECONDS seconds, $ill with failures that the writer was told of"
point "what is told on an ill disk is true when it is well again" "$((ill * 3 < done))"
conclude
