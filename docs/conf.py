# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx's configuration for `make docs`. Nothing is fetched: what lies outside of the collection is not resolved."""

project = "magicwan.cloudflare"
copyright = "The magicwan.cloudflare authors"
title = html_short_title = html_title = "magicwan.cloudflare"

extensions = ["sphinx_antsibull_ext"]
pygments_style = "ansible"
highlight_language = "YAML+Jinja"
default_role = "any"
nitpicky = True
# Labels and variables of Ansible's own documentation.
nitpick_ignore_regex = [
    ("std:ref", r"(ansible_collections\.ansible\.builtin\..*|[a-z_]+)"),
    ("envvar", r"ANSIBLE_(CACHE|INVENTORY|VAULT)_.*"),
]

html_theme = "sphinx_ansible_theme"
html_theme_options = {"display_version": False, "vcs_pageview_mode": "edit", "documentation_home_url": "index.html"}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_use_smartypants = True
html_use_index = False
html_copy_source = False
