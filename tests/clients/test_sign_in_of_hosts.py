"""Hosts on the command line sign in by themselves, each with its own OAuth client, to the addresses the façade takes by default."""

import base64
import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from d365mcp.settings import Settings
from tests.cached import node_packages
from tests.clients.test_sign_in import browser_in
from tests.dev_host import DevHost
from tests.entra import Entra

SECONDS = 90


@dataclass(frozen=True)
class Host:
    """A host: its npm package, the file that names the server, its commands, what it sees then, and where sign-ins return to."""

    package: str
    file: str
    content: str
    sign_in: str
    look: str
    sees: str
    returns_to: str


HOSTS = {
    "mcporter": Host(
        "mcporter",
        "mcporter.json",
        '{"mcpServers": {"d365fo": {"baseUrl": "URL", "auth": "oauth"}}}',
        "mcporter --config mcporter.json auth d365fo",
        "mcporter --config mcporter.json list d365fo",
        "d365fo_query_entities",
        "http://127.0.0.1:PORT/callback",
    ),
    "codex": Host(
        "@openai/codex",
        ".codex/config.toml",
        'mcp_oauth_credentials_store = "file"\n[mcp_servers.d365fo]\nurl = "URL"\n',
        "codex mcp login d365fo",
        "codex mcp list",
        "OAuth",
        "http://127.0.0.1:PORT/callback/HASH",
    ),
    "opencode": Host(
        "opencode-ai",
        "opencode.json",
        '{"autoupdate": false, "mcp": {"d365fo": {"type": "remote", "url": "URL"}}}',
        "opencode mcp auth d365fo",
        "opencode mcp list",
        "connected",
        "http://127.0.0.1:PORT/mcp/oauth/callback",
    ),
}


def hash_of(url: str) -> str:
    """Return what Codex adds to its callback; infra/README.md says how an operator makes it."""
    return base64.urlsafe_b64encode(hashlib.sha256(url.encode()).digest()[:9]).decode()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("mcporter", marks=pytest.mark.once),
        pytest.param("codex", marks=pytest.mark.hosts),
        pytest.param("opencode", marks=pytest.mark.hosts),
    ],
)
def test_a_host_signs_in_with_the_url_alone(name: str, server: DevHost, entra: Entra, tmp_path: Path) -> None:
    host, url = HOSTS[name], f"{server.base_url}/mcp"
    programs = node_packages("node", host.package) / ".bin"
    config = tmp_path / host.file
    config.parent.mkdir(exist_ok=True)
    config.write_text(host.content.replace("URL", url))
    browser = browser_in(tmp_path)
    environ = {
        "HOME": str(tmp_path),
        "PATH": os.pathsep.join([str(browser.parent), str(programs), os.environ["PATH"]]),
        "BROWSER": str(browser),
        "NO_PROXY": "*",
    }

    def ran(command: str) -> str:
        done = subprocess.run(
            command.split(),
            cwd=tmp_path,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # What the guide lets Entra hold: the default, and Codex's own address.
    entra.redirects = (*Settings().redirect_uris, f"http://127.0.0.1/callback/{hash_of(url)}")
    entra.asked.clear()
    ran(host.sign_in)
    (form,) = entra.forms()
    port = form["redirect_uri"].split(":")[2].partition("/")[0]
    assert form["redirect_uri"] == host.returns_to.replace("PORT", port).replace("HASH", hash_of(url))
    assert host.sees in ran(host.look)
    assert entra.forms() == [form]  # nobody signed in a second time
