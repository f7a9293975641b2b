#!/usr/bin/env bash
# A store whose disk loses its power at any moment has kept what was acknowledged.
#
# Method: a file system of its own in a file, ext4 and XFS in turn. In each round a writer with five
# busy threads works on it until the file system is shut down without flushing its journal, which
# loses everything that was not synced; after unmounting, mounting and recovery the judge opens the
# store. Notes and what the follower saw lie on another disk. A store lives for ten rounds.
#
# STELE_POWER_ROUNDS=100 of each for a long run. Without it: 5. Needs root and loop devices.
. "$(dirname "${BASH_SOURCE[0]}")/rounds.sh"

life=10
rounds=${STELE_POWER_ROUNDS:-5}
own_disk "$@"

cut_power() {
    local status=0
    if [ $((RANDOM % 4)) -eq 0 ]; then pause 1 60; else pause 100 800; fi
    "$programs/cut" "$disk" >>"$work/log" 2>&1 || return 1
    # It notices that its disk is ill, or was about to: then it goes with the machine.
    pause 1 30
    kill -9 "$writer" 2>/dev/null
    wait "$writer" 2>/dev/null || status=$?
    writer=
    # The follower has the dead disk mapped: it may die of it, and has to be gone in any case.
    stop "$follower"
    follower=
    # 135, SIGBUS: it was just reading through a mapping of a file on the disk that is gone.
    case $status in
    10 | 135 | 137) ;;
    *) echo "the writer ended with $status" >>"$work/log"; return 1 ;;
    esac
    umount "$disk" && mount_disk
}

one_round() {
    local round=$1
    local -a how=()
    [ $((round % life)) -eq 0 ] || how=(retry=$((round - 1)))
    start_follower
    start_writer "$round" "${how[@]}"
    cut_power || return 1
    how=()
    [ $((round % 3)) -ne 0 ] || how+=(beside)
    judge "${how[@]}"
}

power_rounds() {
    local done=0 status=0
    while [ "$done" -lt "$rounds" ]; do
        : >"$work/log"
        if [ $((done % life)) -eq 0 ]; then
            new_disk "$1" 512 && new_store || return
        fi
        one_round "$done" 2>>"$work/log" || status=$?
        done=$((done + 1))
        if [ "$status" -ne 0 ]; then
            point "$1: power loss number $done" 1
            return
        fi
        if [ $((done % life)) -eq 0 ] || [ "$done" -eq "$rounds" ]; then
            echo "# $(tail -n 1 "$work/log")"
            point "$1: power losses up to number $done lost, doubled, tore nothing" 0
        fi
    done
}

power_rounds ext4
power_rounds xfs
conclude
