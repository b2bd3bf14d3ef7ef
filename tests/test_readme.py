"""Every command of the README and of the first steps, in their order, from the root of a clone; the
long ones shortened. The Python of the first steps as well."""

from pathlib import Path

import pytest

from doc_pages import commands as commands_of
from doc_pages import fenced, name
from tunesmith import terminal
from tunesmith.cli import app

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
FIRST_STEPS = sorted((ROOT / "docs" / "first-steps").glob("*.md"))
ROUNDS = "explore.rounds=1"
#: what begins so takes minutes, and is done with less
SHORT = {
    "run recipes/ethanol.yaml": ["explore.time=0.002 ps", "tune.sampler.steps=20"],
    "run recipes/pool.yaml": [ROUNDS],
    "run recipes/water.yaml": [ROUNDS, "explore.training_frames=1", "tune.sampler.epochs=1"],
    "tune --train examples/data/ethanol-train.xyz --strategy lora": ["tune.sampler.epochs=1"],
    "tune --train examples/data/ethanol-train.xyz --scope broad": ["tune.sampler.epochs=1"],
}


def commands() -> list[list[str]]:
    return commands_of(README.read_text())


def shortened(words: list[str]) -> list[str]:
    line = " ".join(words)
    for beginning, settings in SHORT.items():
        if line.startswith(beginning):
            return [*words, *(part for setting in settings for part in ("--set", setting))]
    if words[0] == "check":
        often = ["--md", "write_every=0.5 fs"]
        return [*("0.06 ps" if word == "1 ps" else word for word in words), *often]
    return words


def test_there_are_as_many_as_there_were() -> None:
    names = {words[0] for words in commands()}
    assert names == set(app_names()), "every command of the command line is shown"
    assert all(any(" ".join(w).startswith(s) for w in commands()) for s in SHORT)


def app_names() -> set[str]:
    import typer.main

    return set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("page", [README, *FIRST_STEPS], ids=name)
def test_every_line_works(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for folder in ("examples", "recipes", "src"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert commands_of(page.read_text())
    for words in commands_of(page.read_text()):
        code = terminal.run(app, shortened(words))
        said = capfd.readouterr().err
        assert code == 0, (words, said[-2000:])
        if words[0] != "template":  # whose result says it
            assert said.splitlines()[-1].startswith("next: "), (words, said[-500:])
    for text in fenced(page.read_text(), "python"):
        exec(compile(text, name(page), "exec"), {})
