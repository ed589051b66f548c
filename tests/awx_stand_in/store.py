# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of the stand-in: made, changed, related and listed as AWX's API does it, without HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .prompts import REQUIRED, judge
from .rules import ENCRYPTED, KINDS, Fields, Refused, check, check_inputs, check_survey, secret_fields

API = "/api/v2"


class Store:
    """Objects by endpoint and id. Not thread-safe: whoever calls holds one lock."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[int, Fields]] = {endpoint: {} for endpoint in KINDS}
        self.secrets: dict[int, Fields] = {}
        self.surveys: dict[tuple[str, int], Fields] = {}
        self._lists: dict[tuple[str, int, str], list[int]] = {}
        self._last_id = 0

    def next_id(self) -> int:
        """A number that nothing else has."""
        self._last_id += 1
        return self._last_id

    # -- reading ------------------------------------------------------------------------------------------------------

    def templates(self) -> Iterable[tuple[str, Fields]]:
        """Everything that can be launched or scheduled, with its endpoint."""
        for endpoint, kind in KINDS.items():
            if kind.is_template:
                yield from ((endpoint, x) for x in self.objects[endpoint].values())

    def template(self, number: int | None) -> tuple[str, Fields] | None:
        """The template of this id."""
        return next(((name, x) for name, x in self.templates() if x["id"] == number), None)

    def named(self, endpoint: str, name: str) -> Fields:
        """The one object of this name, or identifier."""
        (found,) = (x for x in self.objects[endpoint].values() if x.get("name", x.get("identifier")) == name)
        return found

    def related(self, endpoint: str, own: int, association: str) -> list[Fields]:
        """The objects in one of an object's lists."""
        target = KINDS[endpoint].lists[association]
        found = self._lists.get((endpoint, own, association), [])
        return [self.objects[target][x] for x in found]

    def credential_inputs(self, number: int) -> Fields:
        """What a job gets: a credential's inputs with its secrets."""
        return {**self.objects["credentials"][number]["inputs"], **self.secrets.get(number, {})}

    def survey(self, endpoint: str, own: int) -> Fields:
        """A template's survey; empty without one."""
        return self.surveys.get((endpoint, own), {})

    def shown(self, endpoint: str, item: Fields) -> Fields:
        """An object as the API answers it."""
        kind = KINDS[endpoint]
        url = f"{API}/{endpoint}/{item['id']}/"
        related = {x: f"{url}{x}/" for x in (*kind.related, *kind.lists)}
        template = self.template(item.get("unified_job_template"))
        if template is not None:
            related["unified_job_template"] = f"{API}/{template[0]}/{template[1]['id']}/"
        summary: Fields = {}
        owner = self.objects["organizations"].get(item.get("organization") or 0)
        if owner:
            summary["organization"] = {"id": owner["id"], "name": owner["name"]}
        for name in ("current_update", "last_update"):
            if item.get(name):
                summary[name] = {"id": item[name]}
                related[name] = f"{API}/project_updates/{item[name]}/"
        hidden = ("current_update", "last_update", "playbooks")
        visible = {key: value for key, value in item.items() if key not in hidden}
        return {**visible, "type": kind.type, "url": url, "related": related, "summary_fields": summary}

    def listed(self, found: Iterable[tuple[str, Fields]], query: Mapping[str, str]) -> Fields:
        """A page with those objects that have what the query says; `or__` asks for one of several."""
        asked = {key: value for key, value in query.items() if key not in ("page_size", "order_by", "page")}
        either = {key.removeprefix("or__"): asked.pop(key) for key in list(asked) if key.startswith("or__")}
        results = []
        for endpoint, item in found:
            values = {key: self._value(endpoint, item, key) for key in (*asked, *either)}
            same = all(str(values[key]) == value for key, value in asked.items() if value != "None")
            if same and (not either or any(str(values[key]) == value for key, value in either.items())):
                results.append(self.shown(endpoint, item))
        return {"count": len(results), "next": None, "previous": None, "results": results}

    def _value(self, endpoint: str, item: Fields, key: str) -> Any:
        """A field, or that of a related object: `organization__name`."""
        first, _, rest = key.partition("__")
        if rest:
            target = KINDS[endpoint].refers.get(first)
            if target not in self.objects:
                raise Refused({"detail": f"{KINDS[endpoint].type} has no related object named '{first}'"})
            return self.objects[target].get(item.get(first) or 0, {}).get(rest)
        if first not in item and first not in ("organization", "id"):
            raise Refused({"detail": f"{KINDS[endpoint].type} has no field named '{first}'"})
        return item.get(first)

    # -- writing ------------------------------------------------------------------------------------------------------

    def create(self, endpoint: str, body: Mapping[str, Any]) -> Fields:
        """A new object out of a POST; raises Refused."""
        kind = KINDS[endpoint]
        missing = {x: ["This field is required."] for x in kind.required if body.get(x) in (None, "")}
        if missing:
            raise Refused(missing)
        item = {**kind.defaults, **{key: value for key, value in body.items() if key in kind.defaults}}
        self._validate(endpoint, item, {})
        self._judge_prompts(endpoint, item)
        item["id"] = self.next_id()
        self.objects[endpoint][item["id"]] = item
        if endpoint == "credentials":
            self._keep_secrets(item, item["inputs"])
        if endpoint == "projects":
            item.update(status="never updated", current_update=None, last_update=None)
        return item

    def update(self, endpoint: str, item: Fields, body: Mapping[str, Any]) -> None:
        """A PATCH. A credential's `inputs` are replaced as a whole, as every other field is."""
        if endpoint == "execution_environments" and body.get("organization", item["organization"]) not in (
            None,
            item["organization"],
        ):
            raise Refused({"organization": ["Cannot change the organization of an execution environment"]})
        changed = {**item, **{key: value for key, value in body.items() if key in KINDS[endpoint].defaults}}
        self._validate(endpoint, changed, item)
        if {"unified_job_template", "extra_data", "limit", "job_type"} & set(body):
            self._judge_prompts(endpoint, changed)
        if endpoint == "credentials" and "inputs" in body:
            self._keep_secrets(changed, body["inputs"])
        item.update(changed)

    def delete(self, endpoint: str, own: int) -> None:
        """A DELETE: what belongs to the object goes with it, and what else referred to it refers to nothing now."""
        del self.objects[endpoint][own]
        for (owner, _number, association), ids in self._lists.items():
            if own in ids and KINDS[owner].lists[association] == endpoint:
                ids.remove(own)
        for other, kind in KINDS.items():
            for item in list(self.objects[other].values()):
                found = [key for key, target in kind.refers.items() if item[key] == own and self._is(target, endpoint)]
                if set(found) & set(kind.owners):
                    if item["id"] in self.objects[other]:
                        self.delete(other, item["id"])
                else:
                    item.update(dict.fromkeys(found))

    @staticmethod
    def _is(target: str, endpoint: str) -> bool:
        return target == endpoint or (target == "unified_job_templates" and KINDS[endpoint].is_template)

    def set_survey(self, endpoint: str, own: int, survey: Fields) -> None:
        """A POST of a survey; raises Refused."""
        check_survey(survey)
        self.surveys[endpoint, own] = survey

    def associate(self, endpoint: str, own: int, association: str, body: Mapping[str, Any]) -> None:
        """Put an object into one of another's lists, or take it out."""
        target = KINDS[endpoint].lists[association]
        ids = self._lists.setdefault((endpoint, own, association), [])
        other = self.objects[target][body["id"]]
        if body.get("disassociate"):
            ids.remove(other["id"])
            return
        kinds = {self.objects[target][x].get("credential_type") for x in ids}
        if target == "credentials" and other["credential_type"] in kinds:
            raise Refused({"error": "Cannot assign multiple credentials of this type."})
        if other["id"] not in ids:
            ids.append(other["id"])

    def _validate(self, endpoint: str, item: Fields, before: Fields) -> None:
        kind = KINDS[endpoint]
        check(endpoint, item)
        for key, target in kind.refers.items():
            found = (
                self.template(item[key]) if target == "unified_job_templates" else self.objects[target].get(item[key])
            )
            if item[key] is not None and not found:
                raise Refused({key: [f'Invalid pk "{item[key]}" - object does not exist.']})
        if endpoint == "job_templates":
            self._validate_job_template(item)
        if kind.credential_kind and item["credential"] is not None:
            credential = self.objects["credentials"][item["credential"]]
            if self.objects["credential_types"][credential["credential_type"]]["kind"] != kind.credential_kind:
                raise Refused({"credential": [f"Credential kind must be '{kind.credential_kind}'."]})
        for other in self.objects[endpoint].values():
            same = kind.unique and all(other.get(x) == item.get(x) for x in kind.unique)
            if same and other["id"] != item.get("id"):
                raise Refused({"__all__": [f"{kind.type} with these {', '.join(kind.unique)} already exists."]})
        if endpoint == "credentials":
            kept = self.secrets.get(before.get("id", 0), {})
            named = {key: kept[key] for key in kept if item["inputs"].get(key) == ENCRYPTED}
            check_inputs(self.objects["credential_types"][item["credential_type"]], item["inputs"], named)

    def _validate_job_template(self, item: Fields) -> None:
        project = self.objects["projects"].get(item["project"] or 0)
        if project is None:
            raise Refused({"project": ["Job Templates must have a project assigned."]})
        if item["playbook"] not in project.get("playbooks", ()):
            raise Refused({"playbook": ["Playbook not found for project."]})
        if item["inventory"] is None and not item["ask_inventory_on_launch"]:
            raise Refused({"inventory": ["You must either set a default value or ask to prompt on launch."]})
        item["organization"] = project["organization"]

    def _judge_prompts(self, endpoint: str, item: Fields) -> None:
        """Schedules must answer what is required; a node's answers may still come from the workflow."""
        if endpoint not in ("schedules", "workflow_job_template_nodes"):
            return
        found = self.template(item["unified_job_template"])
        if found is None:
            return
        forgive = (REQUIRED,) if endpoint == "workflow_job_template_nodes" else ()
        launch = {**item, "extra_vars": item["extra_data"]}
        errors = judge(found[1], self.survey(found[0], found[1]["id"]), launch, *forgive).errors
        if "extra_vars" in errors:
            errors["extra_data"] = errors.pop("extra_vars")
        if errors:
            raise Refused(errors)

    def _keep_secrets(self, item: Fields, inputs: Mapping[str, Any]) -> None:
        """Keep secrets out of sight. The text $encrypted$ leaves the one that is there; what is not sent is gone."""
        secret = secret_fields(self.objects["credential_types"][item["credential_type"]])
        before = self.secrets.get(item["id"], {})
        self.secrets[item["id"]] = {
            name: before[name] if inputs[name] == ENCRYPTED else inputs[name]
            for name in secret & set(inputs)
            if inputs[name]
        }
        shown = {name: ENCRYPTED if name in secret else value for name, value in inputs.items()}
        item["inputs"] = {name: value for name, value in shown.items() if name not in secret or inputs[name]}
