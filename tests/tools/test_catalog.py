"""What an MCP client sees of a catalog that could not be had whole."""

from pathlib import Path

import pytest

from tests.metadata.world import WORLD
from tests.served import build_catalog, serving
from tests.simulated import Simulator

pytestmark = pytest.mark.once


def test_a_label_that_fails_costs_neither_the_catalog_nor_its_own_entity(tmp_path: Path) -> None:
    simulator = Simulator.start(WORLD)
    try:
        simulator.fault(r"^/metadata/Labels\(Id='@CAT4',", times=0, status=500)
        build_catalog(simulator, tmp_path)
        with serving(simulator, MCP_TOOLSETS="all", TMPDIR=str(tmp_path)) as served:
            for question in ("customers", "Account", "CreditMax"):
                assert served.call("search_entities", query=question)["entities"][0]["entity_set"] == "CustomersV3"
            progress = served.call("get_sync_progress")
            assert (progress["state"], progress["left_out"]) == ("done", "labels: 1")
            assert progress["catalog"]["source"] == "snapshot"
            assert progress["catalog"]["complete"] is False
            simulator.reset()
            found = served.call("get_labels", label_ids=["@CAT4", "@CAT1"])
            assert found["labels"] == {"@CAT4": "Credit limit", "@CAT1": "Customers"}  # the one is read live
            assert len(served.requests("/metadata")) == 1
        simulator.reset()
        build_catalog(simulator, tmp_path)
        assert len(simulator.log("/metadata/labels")) == 1  # and asked for by the next build, as the only one
        with serving(simulator, MCP_TOOLSETS="all", TMPDIR=str(tmp_path)) as served:
            progress = served.call("get_sync_progress")
            assert "left_out" not in progress
            assert "complete" not in progress["catalog"]
            assert served.call("search_entities", query="credit limit")["entities"][0]["entity_set"] == "CustomersV3"
    finally:
        simulator.stop()
