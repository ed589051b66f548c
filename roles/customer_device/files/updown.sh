#!/bin/sh
# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# usage: updown.sh INTERFACE NUMBER MTU ADDRESS/LENGTH...
#
# strongSwan runs this when a CHILD_SA comes and goes. It gives the tunnel its XFRM interface with the interface id
# NUMBER, addresses and MTU, and never takes them away: with make-before-break the old CHILD_SA goes after the new one
# has come.
set -eu
case ${PLUTO_VERB:-} in
    up-*) ;;
    *) exit 0 ;;
esac
interface=$1
number=$2
mtu=$3
shift 3
ip link show dev "$interface" > /dev/null 2>&1 || ip link add "$interface" type xfrm if_id "$number"
ip link set dev "$interface" mtu "$mtu" up
# Reverse path filtering would drop what comes back through the other tunnel.
for setting in all "$interface"; do
    echo 0 > "/proc/sys/net/ipv4/conf/$setting/rp_filter"
done
for address in "$@"; do
    ip address replace "$address" dev "$interface"
done
