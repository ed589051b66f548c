#!/bin/sh
# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# usage: updown_ipsec.sh vti|ipsec INTERFACE NUMBER MTU ADDRESS/LENGTH...
#
# The daemon runs this when a child SA comes and goes. With vti, for strongSwan by ipsec.conf, it gives the tunnel its
# VTI with the mark NUMBER; with ipsec, the daemon is Libreswan, which has made the interface by itself. Both get
# addresses and MTU. An interface is never taken away: a rekeyed child SA goes after the new one has come.
set -eu
kind=$1
interface=$2
number=$3
mtu=$4
shift 4
if [ "$kind" = ipsec ]; then
    ipsec _updown
fi
case ${PLUTO_VERB:-} in
    up-*) ;;
    *) exit 0 ;;
esac
if [ "$kind" = vti ]; then
    if ip link show dev "$interface" > /dev/null 2>&1; then
        ip tunnel change "$interface" mode vti local "$PLUTO_ME" remote "$PLUTO_PEER" key "$number"
    else
        ip tunnel add "$interface" mode vti local "$PLUTO_ME" remote "$PLUTO_PEER" key "$number"
    fi
    # What comes out of the tunnel has been decrypted already.
    echo 1 > "/proc/sys/net/ipv4/conf/$interface/disable_policy"
fi
ip link set dev "$interface" mtu "$mtu" up
# Reverse path filtering would drop what comes back through the other tunnel.
for setting in all "$interface"; do
    echo 0 > "/proc/sys/net/ipv4/conf/$setting/rp_filter"
done
for address in "$@"; do
    ip address replace "$address" dev "$interface"
done
