# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the part of AWX's /api/v2 that the setup playbook, awx.awx 24.6.1 and ansible-rulebook use.

It is no AWX, but as strict as one where that has mattered: each rule is in AWX's own code, and was seen on a running
AWX (24.6.2.dev0). Surveys are judged at launches and schedules; a PATCH replaces a credential's inputs; names of
execution environments are global; a playbook must have been found by an update of its project; variables of the
inventory group all are merged and never removed; workflows hand artifacts on and wait for approvals. Jobs are run by
whoever made the stand-in. What is not there: permissions, schedules that fire, slices, and fields that the playbook
does not use.

One behaviour is stricter than AWX's code, as somebody has seen it on a running AWX: extra variables that a job template
does not prompt for are a 400 at its launch. In that code they are left aside and named in ignored_fields, and only
workflows and schedules refuse them. What works here works with both.
"""
