"""Real agent hosts from npm, each in an empty home: how it is told of a model and of an MCP server, and how a turn is run.

The packages' versions stand in `tests/package.json`. Nothing is sent outside: keys are dummies, telemetry is off.
"""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cached import node_packages

SECONDS = 300
PROMPT = "Do what the script says."
HEADERS = {"x-functions-key": "local"}
Environment = dict[str, str]


@dataclass(frozen=True)
class Home:
    """An empty home with the addresses a host is to use."""

    folder: Path
    model: str
    server: str

    def write(self, name: str, content: Any) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))


def gemini(home: Home) -> tuple[list[str], Environment]:
    settings = {
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
        "general": {"enableAutoUpdate": False},
        "mcpServers": {"d365fo": {"httpUrl": home.server, "headers": HEADERS, "trust": True}},
    }
    home.write(".gemini/settings.json", settings)
    environment = {
        "GOOGLE_GEMINI_BASE_URL": home.model,
        "GEMINI_API_KEY": "dummy",
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
    }
    return ["-m", "gemini-2.5-pro", "--yolo", "-p", PROMPT], environment


def codex(home: Home) -> tuple[list[str], Environment]:
    lines = (
        'model = "gpt-5.1"',
        'model_provider = "scripted"',
        "[model_providers.scripted]",
        'name = "scripted"',
        f'base_url = "{home.model}/v1"',
        'env_key = "OPENAI_API_KEY"',
        'wire_api = "responses"',
        "[mcp_servers.d365fo]",
        f'url = "{home.server}"',
        f'http_headers = {{"x-functions-key" = "{HEADERS["x-functions-key"]}"}}',
        'default_tools_approval_mode = "approve"',
        "[analytics]",
        "enabled = false",
    )
    home.write(".codex/config.toml", "\n".join(lines))
    return ["exec", "--skip-git-repo-check", PROMPT], {"OPENAI_API_KEY": "dummy"}


def opencode(home: Home) -> tuple[list[str], Environment]:
    model = {"name": "scripted", "tool_call": True, "limit": {"context": 200_000, "output": 8_000}}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "scripted",
        "options": {"baseURL": f"{home.model}/v1", "apiKey": "dummy"},
        "models": {"scripted": model},
    }
    settings = {
        "model": "scripted/scripted",
        "small_model": "scripted/scripted",
        "autoupdate": False,
        "share": "disabled",
        "provider": {"scripted": provider},
        "mcp": {"d365fo": {"type": "remote", "url": home.server, "headers": HEADERS, "enabled": True}},
    }
    home.write("work/opencode.json", settings)
    off = ("OPENCODE_DISABLE_AUTOUPDATE", "OPENCODE_DISABLE_MODELS_FETCH", "OPENCODE_DISABLE_LSP_DOWNLOAD")
    return ["run", PROMPT], dict.fromkeys(off, "1")


def copilot(home: Home) -> tuple[list[str], Environment]:
    server = {"type": "http", "url": home.server, "headers": HEADERS, "tools": ["*"]}
    home.write(".copilot/mcp-config.json", {"mcpServers": {"d365fo": server}})
    environment = {
        "COPILOT_OFFLINE": "true",
        "COPILOT_AUTO_UPDATE": "false",
        "COPILOT_MODEL": "gpt-4.1",
        "COPILOT_PROVIDER_BASE_URL": f"{home.model}/v1",
        "COPILOT_PROVIDER_API_KEY": "dummy",
    }
    return ["--allow-all-tools", "-p", PROMPT], environment


@dataclass(frozen=True)
class Host:
    """A host: its name in the matrix, its npm package, and how it is set up in a home."""

    name: str
    package: str
    set_up: Callable[[Home], tuple[list[str], Environment]]

    def program(self) -> Path:
        """Return the host's program, installed if need be (about 250 MB each)."""
        modules = node_packages(self.package)
        return modules / ".bin" / self.set_up.__name__

    def run(self, home: Home) -> str:
        """Run one turn without a person, and return what the host printed."""
        arguments, environment = self.set_up(home)
        (home.folder / "work").mkdir(exist_ok=True)
        folder = str(home.folder)
        base = {"HOME": folder, "TMPDIR": folder, "PATH": os.environ["PATH"], "TERM": "dumb", "NO_COLOR": "1"}
        done = subprocess.run(
            [str(self.program()), *arguments],
            cwd=home.folder / "work",
            env={**base, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        return done.stdout + done.stderr


HOSTS = (
    Host("Gemini CLI", "@google/gemini-cli", gemini),
    Host("Codex", "@openai/codex", codex),
    Host("OpenCode", "opencode-ai", opencode),
    Host("Copilot CLI", "@github/copilot", copilot),
)
