"""The command `simedit-policy`: serves a policy to other processes."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from simedit.config import check_set_once
from simedit.errors import SimeditError, run_cli, unknown

if TYPE_CHECKING:
    from simedit.policies.kinds import PolicyKind

DESCRIPTION = """\
Policies behind a server: play one here, from an environment of its own, for studies elsewhere.

  simedit-policy serve lab:last                          # a policy of a study that ships
  simedit-policy serve study.yaml:rt1 --port 8001        # one of your own study's
  simedit-policy mappings                                # how the policies of others are asked
  simedit-policy mappings openvla

A study plays it with   kind: server, protocol: openpi, url: ws://127.0.0.1:8000, mapping: simedit
"""
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def serve(
    config: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CONFIG[:NAME]")],
    port: int = 8000,
    host: str = "127.0.0.1",
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE ...")] = (),
) -> None:
    """Serve a policy over openpi's websocket protocol until Ctrl-C. GET /healthz says OK once it is loaded.

    Each connection has a policy of its own. Nobody is asked for a password.

    Args:
        config: A study, or any YAML file with `policies:` as studies have them, or the name of a study that
            ships; and, after a colon, the name of the policy where there are several.
        port: Where it listens; 0 takes a free one, and says which.
        host: The address it listens at. By default only this machine reaches it.
        overrides: Settings in place of the config's, for example: policies.rt1.gpu=true
    """
    from simedit.policies.wire.serve import PolicyServer

    if not 0 <= port < 1 << 16:
        raise SimeditError(f"--port must be 0 to 65535, not {port}")
    name, kind = _policy(config, overrides)
    if kind.privileged:
        _no_state()
    if problems := kind.problems():
        raise SimeditError(
            f"policy {name!r} cannot be played:" + "".join(f"\n  - {each}" for each in problems)
        )
    metadata = {
        "server": "simedit",
        "policy": json.loads(kind.model_dump_json(exclude=set(kind.incidental))),
        "fingerprints": kind.meaning(),
        "uses_images": kind.uses_images,
    }
    if host not in _LOOPBACK:
        print(
            f"warning: whoever reaches {host}:{port} can use this policy: nobody is asked for a password",
            file=sys.stderr,
        )
    server = PolicyServer(lambda: kind.load(_no_state), metadata, host=host, port=port)
    print(f"serving {name!r} at {server.url} (openpi); Ctrl-C ends it", flush=True)
    server.run()


def mappings(name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = None) -> None:
    """List the mappings that ship, or show one: what a server is sent, and how its answer is read.

    Args:
        name: The one to show; by default all are listed.
    """
    from simedit.policies.mappings import named_mapping, named_mappings

    files = named_mappings()
    if name is None:
        for each in files:
            print(f"{each:12} {named_mapping(each).note}")
        return
    if name not in files:
        raise unknown("mapping", name, files)
    print(files[name].read_text(encoding="utf-8"), end="")


def main(args: Sequence[str] | None = None) -> int:
    """Run `simedit-policy` with `args` (default: the process's) and return its exit code."""

    def command() -> None:
        check_set_once(sys.argv[1:] if args is None else args)
        tyro.extras.subcommand_cli_from_dict(
            {"serve": serve, "mappings": mappings}, prog="simedit-policy", description=DESCRIPTION, args=args
        )

    code = run_cli(command)
    if args is None:
        # Another Ctrl-C, while Python ends, would print a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return code


def _policy(given: str, overrides: Sequence[str]) -> tuple[str, PolicyKind]:
    """The name and the settings of the policy that CONFIG[:NAME] means."""
    from pydantic import ConfigDict, Field

    from simedit.config import Config, load_config
    from simedit.names import Name
    from simedit.packaged import config_file
    from simedit.policies.kinds import AnyPolicy

    class Policies(Config):
        model_config = ConfigDict(extra="ignore")  # of a study all else is left alone
        policies: dict[Name, AnyPolicy] = Field(min_length=1)

    file, _, name = (given, "", "") if Path(given).is_file() else given.partition(":")
    path = config_file("eval", file)
    sys.path.append(str(path.absolute().parent))  # a policy of the user's own may lie beside it
    found = load_config(Policies, path, overrides).policies
    if not name and len(found) > 1:
        raise SimeditError(f"{file} has several policies: say which, {file}:{next(iter(found))}")
    name = name or next(iter(found))
    if name not in found:
        raise unknown(f"policy in {file}", name, found)
    return name, found[name]


def _no_state() -> Any:
    raise SimeditError(
        "the policy acts from the environment's privileged state, which does not travel: play it in the study"
    )
