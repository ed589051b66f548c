# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the part of AWX's /api/v2 that awx.awx 24.6.1 uses to make the objects of the setup playbook.

It is no AWX. It proves that the real modules, given our objects, send requests that are consistent in themselves: what
is named exists, what AWX is known to refuse is not sent, a second run finds everything as it left it. It does not prove
that AWX would accept each value, run a job, render an injector, follow a workflow or fire a schedule: no job runs here,
permissions are not checked, and fields that the playbook does not use are missing.
"""
