#!/bin/sh
# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# usage: reauthenticate.sh SWANCTL URI SECONDS CONNECTION/CHILD/SECRET...
#
# Loads the secrets of a strongSwan daemon, re-authenticates each connection, and watches what the daemon says.
# Prints a line a connection, and always exits 0:
#   CONNECTION confirmed TIME IKE_SA     the peer's AUTH payload fits the secret that was just loaded
#   CONNECTION failed - REASON
# What swanctl exits with says nothing: it is 0 after a syntax error. So only the daemon's own log counts. An IKE_SA's
# new number would not be enough, as an IKE_SA that was rekeyed has one too, without any authentication.
set -u
export LC_ALL=C
swanctl=$1 uri=$2 seconds=$3
shift 3

sc() {
    "$swanctl" "$@" ${uri:+--uri "$uri"}
}

stop() {
    kill "$logger" 2>/dev/null
    rm -rf "$work"
}

# because FILE [DEFAULT]: what went wrong, in one line
because() {
    why=$(grep -E 'error|invalid|failed' "$1" | grep -v '^opening directory' | head -n 1 | cut -c1-200)
    echo "${why:-${2:-no reason given}}"
}

# said CONNECTION: the daemon's messages on the connection since its secret was loaded, as "IKE_SA message"
said() {
    awk -v name="$1" -v secret="$(secret_of "$1")" '
        index($0, "msg=loaded IKE shared key with id \047" secret "\047 ") { count = 0; next }
        {
            mark = " ikesa-name=" name " ikesa-uniqueid="
            at = index($0, mark)
            if (!at) next
            rest = substr($0, at + length(mark))
            sub(/ msg=/, " ", rest)
            sub(/}$/, "", rest)
            line[count++] = rest
        }
        END { for (i = 0; i < count; i++) print line[i] }
    ' "$work/log"
}

# child_of TARGET: the CHILD_SA in CONNECTION/CHILD/SECRET
child_of() {
    child=${1#*/}
    echo "${child%%/*}"
}

# secret_of CONNECTION: the section that holds its PSK
secret_of() {
    sed -n "s|^$1/[^/]*/||p" "$work/targets"
}

# is_accepted CONNECTION: swanctl says that it has handed its secret over
is_accepted() {
    grep -qF "loaded ike secret '$(secret_of "$1")'" "$work/load"
}

# is_loaded CONNECTION: the daemon says that it has it
is_loaded() {
    grep -qF "msg=loaded IKE shared key with id '$(secret_of "$1")' " "$work/log"
}

# sas CONNECTION: its IKE_SAs, as "NUMBER STATE CHILD_STATE..."
sas() {
    sc --list-sas --raw --noblock --ike "$1" 2> /dev/null | awk '
        /^list-sa event/ {
            number = ""
            states = ""
            count = split($0, word, /[ {}]+/)
            for (i = 1; i <= count; i++) {
                if (number == "" && word[i] ~ /^uniqueid=/) number = substr(word[i], 10)
                if (word[i] ~ /^state=/) states = states " " substr(word[i], 7)
            }
            print number states
        }
    '
}

verdict() {
    echo "$1" >> "$work/done"
    echo "$1 $2 $3 $4"
}

# start_anew CONNECTION CHILD: re-authenticate what is up, otherwise establish it
start_anew() {
    sas "$1" > "$work/before.$1"
    if grep -q '^[0-9]* ESTABLISHED.* INSTALLED' "$work/before.$1"; then
        sc --rekey --ike "$1" --reauth > "$work/out.$1" 2>&1
        if ! grep -q 'completed successfully' "$work/out.$1"; then
            verdict "$1" failed - "re-authentication was refused: $(because "$work/out.$1")"
        fi
        return
    fi
    # What hangs half-open may wait for minutes before it tries again, and without a CHILD_SA there is no way back.
    while read -r number states; do
        sc --terminate --ike-id "$number" --force --timeout 1 > /dev/null 2>&1
    done < "$work/before.$1"
    sc --initiate --ike "$1" --child "$2" --timeout "$seconds" > "$work/out.$1" 2>&1 &
}

work=$(mktemp -d) || exit 1
trap stop EXIT
trap 'exit 1' HUP INT TERM
printf '%s\n' "$@" > "$work/targets"
: > "$work/log"
: > "$work/done"
if ! command -v stdbuf > "$work/which" 2>&1; then
    for target in "$@"; do
        verdict "${target%%/*}" failed - "the device has no stdbuf (package coreutils)"
    done
    exit 0
fi
stdbuf -oL "$swanctl" --log --raw ${uri:+--uri "$uri"} > "$work/log" 2> "$work/log.err" &
logger=$!
deadline=$(($(date +%s) + seconds))

# Load until the daemon's log, which is not subscribed to at once, shows it. A section's name is the secret's id, so that
# loading replaces the secret in one step; --clear would leave the daemon without any for a moment.
while :; do
    sc --load-creds --noprompt > "$work/load" 2>&1
    unseen=
    for target in "$@"; do
        is_accepted "${target%%/*}" && ! is_loaded "${target%%/*}" && unseen=y
    done
    if [ -z "$unseen" ] || [ "$(date +%s)" -ge "$deadline" ]; then
        break
    fi
    sleep 0.1
done

for target in "$@"; do
    name=${target%%/*}
    child=$(child_of "$target")
    if ! is_accepted "$name"; then
        verdict "$name" failed - "the daemon did not load its PSK: $(because "$work/load" "the loaded configuration has none")"
        continue
    elif ! is_loaded "$name"; then
        verdict "$name" failed - "the daemon's log cannot be read: $(because "$work/log.err")"
        continue
    fi
    start_anew "$name" "$child"
done

while :; do
    pending=
    for target in "$@"; do
        name=${target%%/*}
        grep -qxF "$name" "$work/done" && continue
        said "$name" > "$work/said"
        number=$(sed -n "s/^\([0-9]*\) authentication of .* with pre-shared key successful\$/\1/p" "$work/said" | tail -n 1)
        if [ -n "$number" ] && sas "$name" | grep -q "^$number ESTABLISHED.* INSTALLED"; then
            verdict "$name" confirmed "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$number"
            continue
        fi
        reason=$(sed -n -E 's/^[0-9]+ (received [A-Z_]+ notify.*|.*MAC mismatched|no shared key found.*|giving up after .*|peer not responding.*|.* failed to establish.*|no [A-Z]+ proposal .*|no acceptable .*)$/\1/p' \
            "$work/said" | grep -v 'received [A-Z_]*SUPPORTED notify' | tail -n 1)
        case $reason in
            giving\ up* | peer\ not*) reason="timeout: the peer does not answer ($reason)" ;;
        esac
        if [ -n "$reason" ]; then
            verdict "$name" failed - "$reason"
        elif grep -q 'due to existing duplicate' "$work/out.$name"; then
            # The daemon itself has been faster, maybe before this script could watch it.
            start_anew "$name" "$(child_of "$target")"
            pending=y
        elif grep -q '^initiate failed' "$work/out.$name" && ! grep -q 'not established after' "$work/out.$name"; then
            # Its log lines may still be on their way: what the daemon says comes first.
            sleep 0.5
            said "$name" > "$work/said"
            reason=$(grep -o -E 'received [A-Z_]+ notify.*' "$work/said" | tail -n 1)
            verdict "$name" failed - "${reason:-$(because "$work/out.$name")}"
        else
            pending=y
        fi
    done
    if [ -z "$pending" ]; then
        break
    fi
    if [ "$(date +%s)" -ge "$deadline" ]; then
        for target in "$@"; do
            name=${target%%/*}
            grep -qxF "$name" "$work/done" && continue
            said "$name" > "$work/said"
            last=$(tail -n 1 "$work/said" | cut -d' ' -f2- | cut -c1-120)
            verdict "$name" failed - "timeout: no new IKE_AUTH within $seconds s${last:+, the daemon last said: $last}"
        done
        break
    fi
    sleep 0.2
done
exit 0
