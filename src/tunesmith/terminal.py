"""How a command ends: its result on stdout, one sentence on stderr where it cannot go on.

Exit codes: 0 done; 1 done, but not all of it; 2 bad input, one sentence; 70 a bug in tunesmith,
its traceback saved; 130 interrupted. With TUNESMITH_DEBUG=1 errors keep their traceback.
"""

import contextlib
import errno
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tunesmith.errors import TunesmithError

# typer carries its own copy of click or depends on it, by version; this is the base of either
_ClickException: type[Exception] = typer.BadParameter.__mro__[2]
#: what the machine refuses is the user's to cure, not a bug of ours
_MACHINE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG}


# ------------------------------------------------------------------------------ output


def notes() -> Console:
    """Where progress and notes go: stderr, so that stdout holds the result alone."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def only_results() -> Iterator[None]:
    """Send to stderr whatever any library prints meanwhile, compiled ones too."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def give(
    result: Any, as_json: bool, show: Callable[[Console], None], after: str | None = None
) -> None:
    """Print a result: as JSON for programs, or the way ``show`` prints it for people.

    after: the command that people give next, for them alone.
    """
    if as_json:
        sys.stdout.write(json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return
    show(Console(highlight=False, soft_wrap=True))
    if after:
        notes().print(f"next: {after}", markup=False)


def progress(console: Console) -> Progress:
    """A bar with counts and the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=console,
    )


# ------------------------------------------------------------------------------- errors


def _say(sentence: str) -> None:
    print("error: " + " ".join(sentence.split("\n")), file=sys.stderr)


def _bug(error: Exception) -> int:
    with tempfile.NamedTemporaryFile(
        "w", prefix="tunesmith-traceback-", suffix=".txt", delete=False
    ) as file:
        file.write("".join(traceback.format_exception(error)))
    _say(
        f"this is a bug in tunesmith ({type(error).__name__}: {str(error)[:200]}); please report "
        f"it with the traceback in {file.name}."
    )
    return 70


#: commands that find what they have done by then when they are given again
_GO_ON = ("run", "tune", "label", "attack")


def _interrupted(arguments: Sequence[str]) -> int:
    goes_on = bool(arguments) and arguments[0] in _GO_ON
    what = "goes on where it stopped" if goes_on else "begins again"
    print(f"interrupted; the same command {what}.", file=sys.stderr)
    return 130


def run(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code, having said what went wrong."""
    try:
        code = app(args=list(arguments) or ["--help"], prog_name="tunesmith", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(arguments)
    except BrokenPipeError:  # the reader of a pipe, say `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except Exception as error:
        if os.environ.get("TUNESMITH_DEBUG") == "1":
            raise
        if isinstance(error, _ClickException):
            _say(_usage(error))
        elif isinstance(error, TunesmithError):
            _say(str(error))
        elif isinstance(error, OSError) and error.errno in _MACHINE and error.filename:
            _say(f"{error.filename}: {str(error.strerror).lower()}.")
        else:
            return _bug(error)
        return 2
    if code == 130:  # newer versions of typer turn an interrupt into this
        return _interrupted(arguments)
    return int(code or 0)


def _usage(error: Any) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "tunesmith"
    said = error.format_message().replace(" (Possible options: --help)", "").rstrip(".")
    joint = " See" if said.endswith("?") else "; see"
    return f"{said}{joint} '{command} --help'."
