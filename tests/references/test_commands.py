"""A configuration may be somebody else's: its commands are programs and arguments, nothing more."""

import json
from pathlib import Path

import pytest

from tunesmith.config import LabelConfig, load
from tunesmith.errors import ConfigError

ASE = ["reference.trust_convergence=true", "reference.program_version='1'"]
QE = (
    "reference.pseudo_dir=.",
    "reference.pseudopotentials={}",
    "reference.input_data={ecutwfc: 9}",
)
VASP = "reference.settings={encut: 400}", "reference.program_version=6.4.2"
#: engine → how its command is set, and what else it needs
ENGINES = {
    "cp2k": ("reference.command", []),
    "espresso": ("reference.command", QE),
    "orca": ("reference.command", []),
    "vasp": ("reference.command", VASP),
    "ase": ("reference.parameters.command", [*ASE, "reference.calculator=gaussian"]),
}
ODD = [
    *("x; touch {trace}", "x && touch {trace}", "x | tee {trace}", "$(touch {trace})"),
    *("x > {trace}", "`touch {trace}`", "x\ntouch {trace}", "x & touch {trace}", "x < /etc/passwd"),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("command", ODD)
def test_nothing_that_needs_a_shell(engine: str, command: str, tmp_path: Path) -> None:
    path, more = ENGINES[engine]
    text = command.format(trace=tmp_path / "trace")
    with pytest.raises(ConfigError, match="only a shell understands"):
        load(LabelConfig, None, [f"reference.kind={engine}", *more, f"{path}={json.dumps(text)}"])
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("command", ["mpirun -np 4 /opt/x/bin/prog -s", "srun --mpi=pmi2 prog"])
def test_programs_with_arguments(engine: str, command: str) -> None:
    path, more = ENGINES[engine]
    load(LabelConfig, None, [f"reference.kind={engine}", *more, f"{path}={command}"])


def test_what_ases_own_defaults_have() -> None:
    more = [*ASE, "reference.kind=ase", "reference.calculator=gaussian"]
    text = "'g16 < PREFIX.com > PREFIX.log'"
    load(LabelConfig, None, [*more, f"reference.parameters.command={text}"])
