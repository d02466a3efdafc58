"""Microsoft's own OData library reads what the simulator answers, and takes whatever the simulator takes.

The library is asked through a program that CI brings along; `tests/judge.py` says where it is looked for.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from tests.judge import judged
from tests.simulated import Simulator
from tests.simulator.exchanges import Driver, actions, complaints, every_kind
from tests.simulator.odata_requests import Requests

pytestmark = pytest.mark.once

SEED, COUNT = 2026, 2_000  # more on demand
NAMESPACE = "Microsoft.Dynamics.DataEntities"


@pytest.fixture
def metadata(simulator: Simulator) -> str:
    return described(simulator)


def described(simulator: Simulator) -> str:
    with simulator.client() as client:
        text = client.get("/data/$metadata").raise_for_status().text
    judged("responses", text, [])  # skips the test where there is no judge
    return text


def test_every_kind_of_answer_is_read_without_a_complaint(simulator: Simulator, metadata: str) -> None:
    answers = every_kind(simulator)
    assert list(complaints(answers, judged("responses", metadata, answers))) == []
    kinds = Counter((answer["method"], answer["status"]) for answer in answers)
    assert {status for _, status in kinds} >= {200, 201, 204, 400, 403, 404, 405, 408, 412, 429, 500, 501, 503}
    assert kinds["POST", 201] > 30


VALUES = {
    "Edm.String": "x",
    "Edm.Boolean": True,
    "Edm.Int32": 7,
    "Edm.Int64": 5637144576,
    "Edm.Decimal": 1234.56,
    "Edm.Guid": "11111111-2222-3333-4444-555555555555",
    "Edm.Binary": "AA==",
    "Edm.DateTimeOffset": "2026-07-14T12:00:00Z",
    f"{NAMESPACE}.Color": "Red",
    f"{NAMESPACE}.Point": {"X": 1, "Colored": "Red"},
    f"{NAMESPACE}.Item": {"Id": "1", "Hue": "Red"},
    "": None,
}


def test_actions_of_every_return_type_are_described_and_read() -> None:
    returns = VALUES | {f"Collection({name})": [value, value] for name, value in VALUES.items() if name}
    bindings = ("BoundToEntitySet", "BoundToEntityInstance", "Unbound")
    item = {
        "entitySet": "Items",
        "publicEntityName": "Item",
        "keys": ["Id"],
        "properties": [{"name": "Id", "edmType": "Edm.String"}, {"name": "Hue", "edmType": f"{NAMESPACE}.Color"}],
        "records": [{"Id": "1"}],
    }
    point = [{"name": "X", "edmType": "Edm.Int32"}, {"name": "Colored", "edmType": f"{NAMESPACE}.Color"}]
    actions_of = [
        {"name": f"a{number}{binding}", "bindingKind": binding, "returns": name, "result": value}
        | ({} if binding == "Unbound" else {"entitySet": "Items"})
        | {"parameters": [{"name": "p", "type": f"{NAMESPACE}.Color"}]}
        for number, (name, value) in enumerate(returns.items())
        for binding in bindings
    ]
    running = Simulator.start(
        {
            "entities": [item],
            "enumerations": [{"name": "Color", "members": [{"name": "None"}, {"name": "Red"}]}],
            "complexTypes": [{"name": "Point", "properties": point}],
            "actions": actions_of,
        }
    )
    try:
        metadata = described(running)
        with running.client() as client:
            driver = Driver(client)
            actions(driver, "Items", driver.entities["Items"])
            for action in actions_of:
                if action["bindingKind"] == "Unbound":
                    driver.ask("POST", action["name"], json={"p": "Red"})
    finally:
        running.stop()
    asked = [answer for answer in driver.answers if answer["method"] == "POST"]
    assert {answer["status"] for answer in asked} == {200, 204}
    assert len(asked) == len(actions_of)
    assert list(complaints(driver.answers, judged("responses", metadata, driver.answers))) == []


def requests(simulator: Simulator) -> Requests:
    with simulator.client() as client:
        driver = Driver(client)
        dice = Random(SEED)  # noqa: S311 - the same requests every time
        return Requests(dice, driver.entities, driver.enumerations)


def test_a_url_that_the_library_refuses_is_refused(simulator: Simulator, metadata: str) -> None:
    made = requests(simulator)
    urls = [made.url() for _ in range(COUNT)]
    verdicts = judged("odata", metadata, [{"url": url} for url in urls])
    with simulator.client() as fo:
        statuses = [fo.get(f"/data/{url}{'&$top=1' if '?' in url else ''}").status_code for url in urls]
    found = Counter((verdict["ok"], status) for verdict, status in zip(verdicts, statuses, strict=True))
    wrong = [
        (url, verdict["error"])
        for url, verdict, status in zip(urls, verdicts, statuses, strict=True)
        if not verdict["ok"] and status != 400
    ]
    assert wrong == []
    assert {status for _, status in found} <= {200, 400, 404}
    assert found[True, 200] > COUNT / 8  # neither refuses everything
    assert found[False, 400] > COUNT / 8


def test_a_body_that_the_library_refuses_is_refused(simulator: Simulator, metadata: str) -> None:
    made = requests(simulator)
    posts = [made.body() for _ in range(COUNT)]
    headers = {"content-type": "application/json"}
    lines = [{"method": "POST", "url": name, "headers": headers, "body": body} for name, body in posts]
    verdicts = judged("requests", metadata, lines)
    with simulator.client() as fo:
        replies = [fo.post(f"/data/{name}", content=body) for name, body in posts]
    wrong = [
        (*post, verdict["error"])
        for post, verdict, reply in zip(posts, verdicts, replies, strict=True)
        if not verdict["ok"] and (reply.status_code != 400 or "Infolog" in reply.text)
    ]
    assert wrong == []
    found = Counter((verdict["ok"], reply.status_code) for verdict, reply in zip(verdicts, replies, strict=True))
    assert {status for _, status in found} == {201, 400}
    assert found[True, 201] > COUNT / 100
    assert found[False, 400] > COUNT / 8
