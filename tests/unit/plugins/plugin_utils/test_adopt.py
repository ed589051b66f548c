# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources of an adoption: what each format says, and that no error shows a PSK."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._adopt import (
    LARGEST,
    labelled,
    match,
    parse,
    read_file,
    source_of,
    without_content,
)

from tests.unit.plugins.plugin_utils.accounts import tunnel

ONE, TWO = "1" * 32, "2" * 32
TUNNELS = [tunnel(ONE, "berlin-1"), tunnel(TWO, "berlin-2")]
SECRET = "the-Secret-of-the-Source"
ODD = ' x,"y";#é€ '
V5 = "cloudflare_magic_wan_ipsec_tunnel"
V4 = "cloudflare_ipsec_tunnel"
SET_ON = "2026-06-14T05:20:00Z"


def found(kind: str, content: Any) -> dict[str, str]:
    """The PSKs by tunnel id."""
    return {i: x.psk for i, x in match(parse(kind, content, TUNNELS), TUNNELS).found.items()}


def resource(label: str, kind: str = V5, index: Any = None, **values: Any) -> dict[str, Any]:
    address = f"{kind}.{label}" + (f"[{json.dumps(index)}]" if index is not None else "")
    return {"address": address, "mode": "managed", "type": kind, "name": label, "values": values}


def shown(*resources: dict[str, Any], children: list[Any] | None = None) -> str:
    """As `terraform show -json` tells it."""
    root = {"resources": list(resources), "child_modules": children or []}
    return json.dumps({"format_version": "1.0", "values": {"root_module": root}})


def stored(*instances: dict[str, Any], kind: str = V4, **fields: Any) -> str:
    """As Terraform keeps it."""
    entry = {"mode": "managed", "type": kind, "name": "tunnel", "instances": list(instances), **fields}
    return json.dumps({"version": 4, "resources": [{"type": "other", "mode": "managed", "instances": []}, entry]})


# -- what each source says ------------------------------------------------------------------------------------------


def test_json_names_tunnels_by_name_or_id_and_takes_any_psk() -> None:
    assert found("json", json.dumps({"berlin-1": "x", TWO: ODD})) == {ONE: "x", TWO: ODD}


def test_a_mapping_says_the_same_as_json() -> None:
    assert found("psks", {"berlin-1": "x", TWO: ODD}) == {ONE: "x", TWO: ODD}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_may_have_other_columns_in_any_order_and_other_delimiters(delimiter: str) -> None:
    rows = [["Site", "PSK ", "Tunnel"], ["x", "abc", " berlin-1"], [], ["y", "d'ef", TWO]]
    assert found("csv", "\r\n".join(delimiter.join(x) for x in rows)) == {ONE: "abc", TWO: "d'ef"}


def test_a_quoted_psk_of_a_table_is_taken_as_it_is() -> None:
    assert found("csv", 'tunnel,psk\nberlin-1," x,""y"";#é€ "\n') == {ONE: ODD}


def test_a_table_may_say_when_a_psk_was_set() -> None:
    (given,) = parse("csv", f"tunnel,psk,applied_on\nberlin-1,x,{SET_ON}\n", TUNNELS)
    assert given.set_on == SET_ON


@pytest.mark.parametrize("kind", [V4, V5])
def test_terraform_show_tells_of_both_versions_of_the_provider_and_of_modules(kind: str) -> None:
    inner = {"address": "module.a", "resources": [resource("b", kind, "k", id=TWO, name="berlin-2", psk="y")]}
    text = shown(
        resource("a", kind, 0, id=ONE, name="berlin-1", psk="x", psk_metadata={"last_generated_on": SET_ON}),
        {**resource("c", kind, id=ONE, psk="z"), "mode": "data"},
        children=[{"address": "module", "child_modules": [inner]}],
    )
    given = parse("terraform", text, TUNNELS)
    assert [(x.tunnel_id, x.psk, x.set_on) for x in given] == [(ONE, "x", SET_ON), (TWO, "y", None)]
    assert given[0].where == f"{kind}.a[0]"


def test_a_state_file_tells_of_count_and_for_each() -> None:
    text = stored(
        {"index_key": "berlin", "attributes": {"id": ONE, "name": "berlin-1", "psk": "x"}},
        {"index_key": 1, "attributes": {"id": TWO, "name": "berlin-2", "psk": "y"}},
        {"index_key": 2, "deposed": "abc", "attributes": {"id": TWO, "name": "berlin-2", "psk": "z"}},
        module="module.sites",
    )
    given = parse("terraform", text, TUNNELS)
    assert [x.where for x in given] == [f'module.sites.{V4}.tunnel["berlin"]', f"module.sites.{V4}.tunnel[1]"]
    assert found("terraform", text) == {ONE: "x", TWO: "y"}


def test_an_imported_tunnel_has_no_psk_in_terraform() -> None:
    assert found("terraform", shown(resource("a", id=ONE, psk=None), resource("b", id=TWO, psk="y"))) == {TWO: "y"}


def test_a_tunnel_that_terraform_knows_by_an_old_id_is_not_the_one_of_its_name() -> None:
    matched = match(parse("terraform", shown(resource("a", id="9" * 32, name="berlin-1", psk="x")), TUNNELS), TUNNELS)
    assert not matched.found
    assert [labelled(x) for x in matched.without_tunnel] == [f"'berlin-1' ({V5}.a)"]


def test_a_key_for_no_tunnel_is_named_by_its_name_and_its_line() -> None:
    matched = match(parse("csv", f"tunnel,psk\nlyon-9,{SECRET}\n", TUNNELS), TUNNELS)
    assert [labelled(x) for x in without_content(matched.without_tunnel)] == ["'lyon-9' (line 2)"]


def test_a_name_that_is_a_psk_elsewhere_in_the_source_is_not_shown() -> None:
    matched = match(parse("csv", f"tunnel,psk\nlyon-9,{SECRET}\n{SECRET},abc\n", TUNNELS), TUNNELS)
    assert [labelled(x) for x in without_content(matched.without_tunnel)] == ["'lyon-9' (line 2)", "line 3"]


# -- what is refused ------------------------------------------------------------------------------------------------

BAD: list[tuple[str, Any, str]] = [
    ("json", f'{{"berlin-1": "{SECRET}",\n"berlin-2": }}', "line 2 is not valid JSON"),
    ("json", f'["{SECRET}"]', "one mapping of names or ids"),
    ("json", "[" * 100_000, "is not valid JSON"),
    ("json", f'{{"{SECRET}": 12}}', "the PSK of entry 1 is not text"),
    ("json", '{"berlin-1": 12}', "the PSK of the entry 'berlin-1' is not text"),
    ("json", '{"berlin-1": ""}', "the PSK of the entry 'berlin-1' is empty"),
    ("json", f'{{"berlin-1": {{"psk": "{SECRET}"}}}}', "the PSK of the entry 'berlin-1' is not text"),
    ("json", f'{{"berlin-1": "{SECRET}", "berlin-1": "y"}}', "both have a PSK for the tunnel 'berlin-1'"),
    ("json", f'{{"berlin-1": "{SECRET}", "{ONE}": "y"}}', "both have a PSK for the tunnel 'berlin-1'"),
    ("json", f'{{"{SECRET}": "berlin-1"}}', "entry 1 has a tunnel's name as its PSK"),
    ("psks", [SECRET], "one mapping of names or ids"),
    ("psks", {1: SECRET}, "entry 1 must begin with the name or id"),
    ("csv", "", "must begin with a line that names the columns"),
    ("csv", f"berlin-1,{SECRET}\n", "line 1 must name the columns"),
    ("csv", f"tunnel,psk,psk\nberlin-1,{SECRET},x\n", "line 1 names the column psk twice"),
    ("csv", f"tunnel,psk\nberlin-1,{SECRET},x\n", "line 2 has 3 columns, not 2"),
    ("csv", f"tunnel,psk\n\n{SECRET}\n", "line 3 has 1 columns, not 2"),
    ("csv", f'tunnel,psk\nberlin-1,"{SECRET}\nberlin-2,x\n', "line 2 is not valid CSV"),
    ("csv", f'tunnel,psk\nberlin-1,"{SECRET}"x\n', "line 2 is not valid CSV"),
    ("csv", "tunnel,psk\nberlin-1, \n", "the PSK of line 2 is empty"),
    ("csv", f"tunnel,psk\n,{SECRET}\n", "line 2 names no tunnel"),
    ("csv", f"tunnel,psk,applied_on\nberlin-1,{SECRET},{SECRET}\n", "the applied_on of line 2 must be a time"),
    ("csv", f"tunnel,psk\nberlin-1,{SECRET}\n{ONE},x\n", "line 2 and line 3 both have a PSK"),
    ("csv", f"tunnel,psk\n{SECRET},berlin-2\n", "line 2 has a tunnel's name as its PSK"),
    ("terraform", f'["{SECRET}"]', "no state of Terraform"),
    ("terraform", f'{{"version": 3, "modules": ["{SECRET}"]}}', "no state of Terraform that is understood"),
    ("terraform", f'{{"version": 4, "resources": ["{SECRET}"]}}', "its resources are not as they should be"),
    ("terraform", shown(), "holds no IPsec tunnel"),
    ("terraform", shown(resource("a", id=ONE, psk=12)), f"the PSK of {V5}.a is not text"),
    ("terraform", shown(resource("a", id=ONE, psk=SECRET), resource("b", id=ONE, psk="y")), f"{V5}.a and {V5}.b both"),
]


@pytest.mark.parametrize(("kind", "content", "message"), BAD)
def test_bad_input_is_one_line_that_says_where_and_shows_no_psk(kind: str, content: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        match(parse(kind, content, TUNNELS, "/x/source"), TUNNELS, "/x/source")
    assert message in caught.value.message and caught.value.message.startswith("/x/source")
    assert "\n" not in caught.value.message and SECRET not in caught.value.message


@pytest.mark.parametrize(
    "options", [None, {}, [], "a.csv", "[", {"json": "a", "csv": "b"}, {"yaml": "a"}, {"json": ""}, {"csv": ["a"]}]
)
def test_one_source_must_be_named(options: Any) -> None:
    with pytest.raises(InputError, match="adopt_psks_from"):
        source_of(options)


def test_a_source_may_be_json_text_as_extra_variables_have_it() -> None:
    assert source_of('{"csv": "a.csv"}') == ("csv", "a.csv")


# -- files ----------------------------------------------------------------------------------------------------------


def never(content: bytes) -> bytes:
    raise AssertionError("nothing is encrypted")


def source(folder: Path, content: bytes, mode: int = 0o600) -> str:
    path = folder / "source"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert read_file(source(tmp_path, b"\xef\xbb\xbftunnel"), never) == "tunnel"


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644])
def test_a_file_that_others_can_read_is_refused_unless_told(tmp_path: Path, mode: int) -> None:
    path = source(tmp_path, b"x", mode)
    with pytest.raises(InputError, match="others can read it"):
        read_file(path, never)
    assert read_file(path, never, readable=True) == "x"


def test_an_encrypted_file_may_be_read_by_all(tmp_path: Path) -> None:
    path = source(tmp_path, b"$ANSIBLE_VAULT;1.1;AES256\nabc", 0o644)
    assert read_file(path, lambda content: b"plain") == "plain"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"x" * (LARGEST + 1), "8.0 MB, and no more than 8 MB"), (b"a\nb\xff", "line 2 is not UTF-8")],
)
def test_a_file_that_is_too_large_or_no_text_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_file(source(tmp_path, content), never)


def test_a_folder_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Is a directory"):
        read_file(str(tmp_path), never)
    with pytest.raises(InputError, match="No such file"):
        read_file(str(tmp_path / "nothing"), never)
    with pytest.raises(InputError, match="not a regular file"):
        read_file("/dev/null", never)
