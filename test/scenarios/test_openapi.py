# SPDX-License-Identifier: MIT
"""doc/openapi.yaml says what the program does: its paths, parameters and codes, read from the
sources, and its answers, held against the schemas."""

import json
import re

import jsonschema
import pytest
import yaml

from conftest import SOURCE
from tokens import SETTINGS, bearer, token

DOCUMENT = yaml.safe_load((SOURCE / "doc/openapi.yaml").read_text())
ROUTE = re.compile(r'\{(SSE_PATH|"[^"]*"), "([A-Z]+)", [^}]*\}')
CALLS = "problem_set|problem_write_http|request_cut|respond_unavailable|deadline_cut_body"
CODE = re.compile(r'(?:\b[45]\d\d,|(?:' + CALLS + r')\([^";]*)\s*"([a-z0-9_]+)"')
TABLE = re.compile(r"parameters_(\w+)\[\] = \{(.*?)\};", re.S)


def source(path):
    return (SOURCE / "src" / path).read_text()


def routes():
    """Path and method of each row of the table, and the name of its parameters' table."""
    text = source("api/routes.c")
    table = text[text.index("routes[] = {"):text.index("ROUTES_N")]
    for row in ROUTE.finditer(table):
        path = "/events" if row[1] == "SSE_PATH" else row[1].strip('"')
        named = re.search(r"parameters = parameters_(\w+)", row[0])
        yield path + ("{id}" if "is_prefix" in row[0] else ""), row[2].lower(), named and named[1]


def check(response, schema):
    """The JSON of an answer, which fits."""
    found = response.json()
    whole = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(whole).validate(found)
    return found


def test_the_document_has_each_path_and_method_and_no_other():
    said = {(path, method) for path, item in DOCUMENT["paths"].items() for method in item}
    assert said == {(path, method) for path, method, _ in routes()}


def test_the_document_has_each_parameter_and_no_other():
    tables = {name: set(re.findall(r'\{"(\w+)"', body))
              for name, body in TABLE.findall(source("http/parameters.c"))}
    for path, method, table in routes():
        table = "of_ws" if path == "/ws" else table
        said = {one["name"] for one in DOCUMENT["paths"][path][method].get("parameters", [])
                if one["in"] == "query"}
        assert said == (tables[table] if table else set()), path


def test_the_document_has_each_code_and_no_other():
    text = " ".join(path.read_text() for path in (SOURCE / "src").rglob("*.c"))
    said = DOCUMENT["components"]["schemas"]["Code"]["enum"]
    assert len(said) > 50 and said == sorted(set(CODE.findall(text)))


def test_answers_are_as_the_document_has_them(gateway):
    check(gateway.request("GET", "/healthz"), "Health")
    check(gateway.request("GET", "/readyz"), "Health")
    assert check(gateway.request("GET", "/api/history"), "History")["events"] == []
    stream = gateway.stream("a", envelope="json", user="u")
    event = {"topic": "a", "event": "n", "users": ["u", "v"], "data": {"x": 1}, "ttl": 60,
             "retry": 5000}
    check(gateway.post(event), "Pushed")
    check(gateway.post([event, {"data": "x", "ephemeral": True}]), "PushedMany")
    check(stream.next_event(), "Envelope")
    assert check(gateway.request("GET", "/api/history?user=u&last=5"), "History")["events"]
    check(gateway.request("GET", "/api/history?after=" + "0" * 12 + "-" + "0" * 16), "History")
    assert check(gateway.request("GET", "/api/streams"), "Streams")["streams"]
    check(gateway.request("GET", "/api/stats"), "Stats")
    check(gateway.request("DELETE", "/api/streams?user=u"), "Ended")
    check(gateway.request("GET", "/api/evictions"), "Evictions")


@pytest.mark.gateway(settings=SETTINGS)
def test_a_ticket_is_as_the_document_has_it(gateway):
    headers = bearer(token("ann", subscribe=["a"])) + [("Content-Type", "application/json")]
    wish = json.dumps({"topics": ["a"], "ttl": 60})
    check(gateway.request_once("POST", "/api/tickets", headers, wish.encode()), "Ticket")


@pytest.mark.parametrize("method, target", [
    ("GET", "/nothing"), ("GET", "/events?envelope=xml"), ("GET", "/api/history?last=0"),
    ("GET", "/api/streams?limit=0"), ("DELETE", "/api/streams"), ("PUT", "/api/push"),
    ("POST", "/api/tickets"), ("POST", "/api/push"), ("GET", "/ws"), ("GET", "/events?xyz=1"),
])
def test_problems_are_as_the_document_has_them(gateway, method, target):
    check(gateway.request_once(method, target), "Problem")
