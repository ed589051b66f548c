#!/bin/sh
# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# usage: look.sh FOLDER[:FOLDER...] FILE...
#
# Prints whether each FOLDER can be written, which is tried if it is not empty, and each file with its name before it,
# and what a file of the name ...secrets includes. The files hold secrets.
set -u
export LC_ALL=C
writable=yes
IFS=:
for folder in $1; do
    if [ -d "$folder" ] && [ -w "$folder" ] && touch "$folder/.magicwan-try" 2> /dev/null; then
        rm -f "$folder/.magicwan-try"
    else
        writable=no
    fi
done
[ -n "$1" ] || writable=no
unset IFS
echo "writable $writable"
shift

# show FILE DEPTH
show() {
    [ -f "$1" ] || return 0
    echo "== $1"
    cat "$1"
    echo
    case $1 in
        *secrets*) ;;
        *) return 0 ;;
    esac
    [ "$2" -lt 5 ] || return 0
    sed -n 's/^include[[:space:]]*"\{0,1\}\([^"[:space:]]*\).*/\1/p' "$1" | while read -r pattern; do
        case $pattern in
            /*) ;;
            *) pattern=$(dirname "$1")/$pattern ;;
        esac
        for file in $pattern; do
            show "$file" $(($2 + 1))
        done
    done
}

for file in "$@"; do
    show "$file" 0
done
