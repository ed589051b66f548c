#!/bin/sh
# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# usage: look.sh FOLDER FILE...
#
# Prints whether FOLDER can be written, which is tried if it is not empty, and each file with its name before it. The
# files hold secrets.
set -u
export LC_ALL=C
if [ -d "$1" ] && [ -w "$1" ] && touch "$1/.magicwan-try" 2> /dev/null; then
    rm -f "$1/.magicwan-try"
    echo "writable yes"
else
    echo "writable no"
fi
shift
for file in "$@"; do
    [ -f "$file" ] || continue
    echo "== $file"
    cat "$file"
    echo
done
