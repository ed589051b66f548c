#!/bin/sh
# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# usage: ipsec.sh IPSEC stroke|auto SECONDS CONNECTION...
#
# Has the daemon read its secrets, takes each connection down and brings it up again, and prints what it said: before
# each command's output a line "== STEP CONNECTION RC". The steps are reread, and for each connection before, down,
# between, up and after; always exits 0. It is not this script that judges: it only waits until the connection is down,
# and goes round again when the daemon itself was faster than "up".
set -u
export LC_ALL=C
ipsec=$1 kind=$2 seconds=$3
shift 3
deadline=$(($(date +%s) + seconds))
# Nobody who is lost between "down" and "up" may leave a connection down.
trap '' HUP PIPE
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# What is cut off by the time limit has to have been printed by then.
lines=
if command -v stdbuf > "$work/which" 2>&1; then lines="stdbuf -oL"; fi

# left: the seconds until the deadline, at least one
left() {
    rest=$((deadline - $(date +%s)))
    [ "$rest" -gt 0 ] || rest=1
    echo "$rest"
}

# within SECONDS ARGUMENT...: run ipsec, for so long at the most; 124 when the time is over
within() {
    limit=$1
    shift
    $lines timeout "$limit" "$ipsec" "$@" 2>&1
}

run() {
    within "$(left)" "$@"
}

# A look is no part of the authentication, and may take its time on a busy device.
look() {
    case $kind in
        stroke) within 15 status "$1" ;;
        auto) within 15 showstates ;;
    esac
}

# A peer that does not answer keeps strongSwan waiting for minutes.
down() {
    case $kind in
        stroke) within $((seconds / 4 + 1)) down "$1[*]" ;;
        auto) run auto --down "$1" ;;
    esac
}

up() {
    case $kind in
        stroke) run up "$1" ;;
        auto) run auto --up "$1" ;;
    esac
}

# step NAME CONNECTION: run it and keep what it printed
step() {
    case $1 in
        before | between | after) look "$2" ;;
        *) "$1" "$2" ;;
    esac > "$work/out.$2"
    rc=$?
    { echo "== $1 $2 $rc"; cat "$work/out.$2"; echo; } >> "$work/said.$2"
    return "$rc"
}

# is_up CONNECTION: whether the last look shows an IKE SA of it
is_up() {
    case $kind in
        stroke) grep -q "^ *$1\[[0-9]*\]: ESTABLISHED" "$work/out.$1" ;;
        auto) grep -q "\"$1\"[^ ]* .*STATE_V2_ESTABLISHED_IKE_SA" "$work/out.$1" ;;
    esac
}

authenticate() {
    step before "$1" || return
    while :; do
        step down "$1" || [ "$?" = 124 ] || return
        while step between "$1" && is_up "$1" && [ "$(date +%s)" -lt "$deadline" ]; do
            sleep 1
        done
        is_up "$1" && return
        step up "$1"
        # It was up already: what brought it up was not seen.
        grep -qE 'existing duplicate|using IKE SA #' "$work/out.$1" || break
        [ "$(date +%s)" -lt "$deadline" ] || break
        sleep 1
    done
    step after "$1"
}

# A secret that a daemon does not understand may be in what it prints, so only the place goes on.
case $kind in
    stroke) run rereadsecrets > "$work/reread" ;;
    auto) run auto --rereadsecrets > "$work/reread" ;;
esac
echo "== reread - $?"
sed -n 's/^[0-9]* \{0,1\}\("[^"]*" line [0-9]*\):.*/\1/p' "$work/reread"

for connection in "$@"; do
    authenticate "$connection" &
done
wait
for connection in "$@"; do
    cat "$work/said.$connection"
done
exit 0
