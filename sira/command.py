"""The command `sira`: one name for the processes and the tools of the product.

A tool's modules are imported only when it is called, so that `sira --help` is fast.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import click

from runtime.command import run

SHELLS = ("bash", "fish", "zsh")
_PASS_ARGUMENTS = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@dataclass(frozen=True)
class Tool:
    """The commands of one room: `python -m MODULE PATH...` is `sira NAME`."""

    module: str
    help: str
    path: tuple[str, ...] = ()

    def load(self) -> ModuleType:
        return importlib.import_module(f"{self.module}.__main__")

    @property
    def words(self) -> str:
        return " ".join((self.module, *self.path))


TOOLS = {
    "model": Tool("registry", "Register, list and promote model versions."),
    "backtest": Tool("backtest", "Replay the log with a version, and compare with what was decided."),
    "canary": Tool("canary", "Start, watch and change canaries; import labels."),
    "control-group": Tool("monitoring", "Let a share of blocks pass, to know what they were.", ("control-group",)),
    "archive": Tool("archive", "Keep closed days of the log as Parquet; export training sets."),
    "migrate": Tool("migrations", "Bring the database's schema up to date."),
    "audit": Tool("registry", "Show and verify the audit log.", ("audit",)),
    "token": Tool("registry", "Print a bearer token for a person.", ("token",)),
}


class ToolGroup(click.Group):
    """The processes, which are defined below, and the tools, which are loaded when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *TOOLS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        tool = TOOLS.get(cmd_name)
        return super().get_command(ctx, cmd_name) if tool is None else command_of(tool, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading their modules."""
        processes = {name: command.get_short_help_str(limit=80) for name, command in self.commands.items()}
        tools = {name: tool.help for name, tool in TOOLS.items()}
        with formatter.section("Commands"):
            formatter.write_dl(sorted((processes | tools).items()))


def command_of(tool: Tool, name: str) -> click.Command:
    """Load a tool's command, whose examples then begin with `sira NAME`."""
    loaded = tool.load()
    command: click.Command = getattr(loaded, tool.module)
    for word in tool.path:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    _rename_examples(command, f"python -m {tool.words}", f"sira {name}")
    return command


def _rename_examples(command: click.Command, before: str, after: str) -> None:
    if command.epilog:
        command.epilog = command.epilog.replace(before, after)
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _rename_examples(inner, before, after)


@click.group(
    cls=ToolGroup,
    name="sira",
    epilog="Exit codes: 0 done, 1 refused or a check failed (the reason is on stderr), 2 wrong usage.",
)
def sira() -> None:
    """Score transactions for fraud, and roll out new models safely."""


@sira.command(context_settings=_PASS_ARGUMENTS)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def serve(options: Sequence[str]) -> None:
    """Serve /v1/infer. OPTIONS are those of `bentoml serve`."""
    folder = str(_file_of("service").parent)
    _replace_process("-m", "bentoml", "serve", "service:SiraInference", "--working-dir", folder, *options)


@sira.command()
def controller() -> None:
    """Run the controller: canaries, labels, upkeep, and the control API."""
    _replace_process(str(_file_of("controller")))


@sira.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of a shell: eval "$(sira completion bash)"."""
    from click.shell_completion import get_completion_class

    completer = get_completion_class(shell)
    assert completer is not None
    click.echo(completer(sira, {}, "sira", "_SIRA_COMPLETE").source())


def _file_of(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise click.ClickException(f"{module}.py is not installed beside this command")
    return Path(spec.origin)


def _replace_process(*arguments: str) -> None:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the imports they govern
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *arguments])


def main() -> None:
    called = TOOLS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    expected: tuple[type[Exception], ...] = () if called is None else called.load().EXPECTED
    run(sira, *expected, prog_name="sira")
