"""Runs of SQL through the HTTP API."""

import json

from harness.execd import sse_events

TERMINAL = ("error", "execution_complete")


def post(agent, text):
    return agent.client.post("/code", json={"code": text, "context": {"language": "sql"}}, timeout=60)


def run(agent, text):
    """The events of one run, which must be one well-formed stream."""
    response = post(agent, text)
    assert response.status_code == 200, response.text
    events = [event for event in sse_events(response.text) if event["type"] != "ping"]
    assert events[0]["type"] == "init"
    assert [event["type"] for event in events if event["type"] in TERMINAL] == [events[-1]["type"]]
    assert "reason" in events[-1]["receipt"]
    return events


def results(events):
    """Of each result: the text that clients read, decoded; the same with types."""
    found = []
    for event in events:
        if event["type"] == "result":
            assert event["results"]["text"] == event["results"]["text/plain"]
            found.append((json.loads(event["results"]["text"]), json.loads(event["results"]["application/json"])))
    return found


def rows(agent, text):
    """The rows of the last result of a run that must succeed."""
    events = run(agent, text)
    assert events[-1]["type"] == "execution_complete", events
    return results(events)[-1][0].get("rows", [])


def error_of(events):
    assert events[-1]["type"] == "error", events
    return events[-1]["error"]


def notes(events):
    return "".join(event["text"] for event in events if event["type"] == "stderr")
