"""`catalog`: builds the metadata catalog, and says which one serves."""

import asyncio
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from d365mcp.app import application
from d365mcp.commands import close, need_settings, say
from d365mcp.errors import D365McpError


@click.group("catalog")
def catalog_group() -> None:
    """The metadata catalog: build it, and see which one serves.

    \b
    Examples:
      python -m d365mcp catalog build
      python -m d365mcp catalog status --json
    """


@catalog_group.command("build")
def build_command() -> None:
    """Build the catalog now, from here, and let all instances serve it."""
    need_settings()
    with _failing_plainly():
        _build()


def _build() -> None:
    outcome = asyncio.run(_build_now())
    if outcome == "busy":
        raise click.ClickException("Another build is under way: see `catalog status`.")
    progress = application.environment.builder.store.progress()
    if outcome == "waiting":
        left_out = (progress.left_out if progress else None) or "entities or enumerations"
        raise click.ClickException(f"F&O is busy or away; not read yet: {left_out}. Run this again later: it goes on.")
    if outcome != "built":
        raise click.ClickException((progress.error if progress else None) or f"The build is {outcome}.")
    _print_status(as_json=False)


@catalog_group.command("status")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status_command(*, as_json: bool) -> None:
    """Say which catalog serves, and how the last build went."""
    need_settings()
    with _failing_plainly():
        _print_status(as_json=as_json)


@contextmanager
def _failing_plainly() -> Iterator[None]:
    """End with a sentence, not with a trace, where the storage does not do its part."""
    try:
        yield
    except D365McpError as problem:
        raise click.ClickException(" ".join(filter(None, (problem.message, problem.hint)))) from None


async def _build_now() -> str:
    builder = dataclasses.replace(application.environment.builder, seconds=24 * 3600.0)
    bars = _ProgressBars()
    try:
        return await builder.run(fresh=True, forced=True, watch=bars)
    finally:
        bars.close()
        await close()


class _ProgressBars:
    """Shows a build's stages, each as a progress bar where its length is known, else as a count."""

    def __init__(self) -> None:
        self.stage = ""
        self.bar: Any = None

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if stage != self.stage:
            self.close()
            self.stage = stage
            self.bar = click.progressbar(length=total, label=f"{stage:12}", file=sys.stderr) if total else None
            if self.bar is None:
                click.echo(f"{stage:12}", err=True, nl=False)
        if self.bar is not None:
            self.bar.update(done - self.bar.pos)
        elif sys.stderr.isatty():
            click.echo(f"\r{stage:12} {done}", err=True, nl=False)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.render_finish()
        elif self.stage:
            click.echo("", err=True)
        self.bar, self.stage = None, ""


def _print_status(*, as_json: bool) -> None:
    store = application.environment.builder.store
    found, progress = store.pointer(), store.progress()
    facts = {
        "environment": application.settings.base_url,
        "snapshot": dataclasses.asdict(found[0]) if found else None,
        "last_build": dataclasses.asdict(progress) if progress else None,
    }
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    click.echo(f"environment  {facts['environment']}")
    if found is None:
        click.echo("snapshot     none yet: the server reads metadata live")
    else:
        pointer = found[0]
        say(
            f"snapshot     {pointer.entities} entities, application {pointer.application_version or 'unknown'}, "
            f"{pointer.bytes / 1e6:.1f} MB, as of {_timestamp(pointer.built_at)}"
        )
    if progress is not None:
        error = f": {progress.error}" if progress.error else ""
        say(f"last build   {progress.state}{error}, {_timestamp(progress.updated_at)}")
        if progress.left_out:
            say(f"left out     {progress.left_out}; the next build asks for them again")


def _timestamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
