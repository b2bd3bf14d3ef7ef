"""What an installed package brings is used from the command line, each in a process of its own."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from shlex import split

import pytest

from tunesmith import terminal
from tunesmith.cli import app
from tunesmith.files import sha256

ROOT = Path(__file__).parents[2]
Command = Callable[..., "subprocess.CompletedProcess[str]"]
PAGES = ROOT / "docs" / "how-to"
#: of the command lines of the pages, to be quick
FEW = ("explore.rounds=1", "tune.sampler.kind=committee", "tune.sampler.epochs=1")
FEW += ("tune.sampler.batch_size=3", "execute.processes=1", "model.source=eam:untrained")
FEW += ("tune.e0.method=average",)


def commands(page: str, start: str) -> list[list[str]]:
    """Of a page, those of tunesmith that begin so."""
    lines = re.findall(r"^    tunesmith (.*)$", (PAGES / f"{page}.md").read_text(), re.M)
    return [split(line) for line in lines if line.startswith(start)]


@pytest.fixture(scope="module")
def run(tunesmith: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """The recipe's YAML file and folder, and what was printed: recipe, reference and backend."""
    folder = tmp_path_factory.mktemp("run")
    (text,) = re.findall(r"```yaml\n(.*?)```", (PAGES / "write-a-recipe.md").read_text(), re.S)
    (words,) = commands("write-a-recipe", "run")
    (folder / words[1]).write_text(text + "execute: {processes: 1}\n")
    done = tunesmith("run", folder / words[1], "--out", folder / "run")
    assert done.returncode == 0, done.stderr
    return folder / words[1], folder / "run", done.stdout + done.stderr


def test_a_recipe_runs_with_a_reference_and_a_backend(run: tuple[Path, Path, str]) -> None:
    _, out, said = run
    assert "8 of 40 structures are drawn" in said
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["labels"], summary["as_asked"]) == (8, True)
    assert "morse-pairs" in (out / "config.yaml").read_text()
    assert (out / "labels.extxyz").read_text().count("REF_energy") == 8


def test_the_recipe_goes_on_to_the_same_result(
    run: tuple[Path, Path, str],
    installed: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where nothing but labels and a checkpoint is left, and where all is done."""
    config, out, _ = run
    monkeypatch.chdir(ROOT)
    words = ["run", str(config), "--out", str(out)]
    assert terminal.run(app, words) == 0
    assert "is finished: every label is learnt" in capfd.readouterr().err
    members = out / "members" / "members.safetensors"
    before = sha256(members)
    members.unlink()
    assert terminal.run(app, words) == 0
    assert sha256(members) == before
    assert terminal.run(app, [*words, "--set", "explore.labels=9"]) == 2
    assert "was made with another explore.labels" in capfd.readouterr().err


def test_a_check_asks_a_file_of_the_backend(
    run: tuple[Path, Path, str], tunesmith: Command
) -> None:
    (words,) = commands("write-a-reference-or-check", "check")
    words[1] = str(run[1])
    done = tunesmith(*words, "--json")
    found = json.loads(done.stdout)["checks"]["dimer-wall"]
    pushes = found["push_eV_per_A"]
    assert set(pushes) == {"C-C", "C-H", "C-O", "H-H", "H-O", "O-O"}
    assert found["well"] == all(min(along) > 0 for along in pushes.values())
    assert done.returncode == (0 if found["well"] else 1)


def test_a_rule_chooses_in_rounds_from_a_pool_and_once_by_what_came_of_it(
    installed: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In this process, which has all that takes seconds to import."""
    monkeypatch.chdir(ROOT)
    (words,) = commands("write-a-rule", "run")
    few = [word for text in FEW for word in ("--set", text)]
    assert terminal.run(app, [*words, *few, "--out", str(tmp_path / "run")]) == 0
    assert re.search(r"^chosen by +mixed$", capfd.readouterr().out, re.M)
    (words,) = commands("write-a-rule", "select")
    for option, name in (("--model", "run"), ("--out", "chosen.xyz")):
        words[words.index(option) + 1] = str(tmp_path / name)
    assert terminal.run(app, [*words, "--json"]) == 0
    summary = json.loads(capfd.readouterr().out)
    assert (summary["rule"], summary["representation"]) == ("mixed", "soap")
    scores = [row["score"] for row in summary["chosen"]]
    assert len(scores) == 10
    assert scores == sorted(scores, reverse=True)


def test_a_rule_is_found_in_a_process_of_its_own(tunesmith: Command) -> None:
    (words,) = commands("write-a-rule", "template")
    assert "times: 2  # so many times as many are drawn" in tunesmith(*words).stdout


def test_a_reference_labels(
    installed: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    (words,) = commands("write-a-reference-or-check", "label")
    assert terminal.run(app, [*words[:-1], str(tmp_path / "labels.xyz")]) == 0
    assert "3 of 3 structures labelled" in capfd.readouterr().out


def test_settings_are_printed_and_what_is_wrong_with_them_is_said(
    installed: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)

    def said(*words: str) -> str:
        terminal.run(app, words)
        return "".join(capfd.readouterr())

    assert "mixed" in said("template", "pool")
    assert "labels: 20  # structures drawn, labelled and learnt" in said("template", "one-go")
    assert "depth: 1 eV  # of every pair" in said(
        "template", "label", "--set", "reference.kind=morse-pairs"
    )
    pool = ("run", "recipes/pool.yaml", "--set", "acquire.kind=mixed")
    assert said(*pool, "--set", "acquire.time=3") == (
        "error: acquire.time: no such setting; did you mean 'times'?\n"
    )
    assert "acquire: mixed rests on how far members disagree" in said(*pool)
    start = "examples/data/ethanol-start.xyz"
    check = ("check", "eam:untrained", start, "--checks", "dimer-wall")
    assert said(*check, "--set", "settings.dimer-wall.close=1") == (
        "error: settings.dimer-wall.close: no such setting; did you mean 'closest'?\n"
    )
    assert "did you mean 'dimer-wall'" in said(*check[:-1], "dimerwall")
    assert "eam:untrained" in said("models")
    assert "there is eam:untrained" in said("evaluate", "eam:other", start)


def test_a_backend_is_listed_without_what_takes_seconds_to_import(tunesmith: Command) -> None:
    done = tunesmith("models", python=("-X", "importtime"))
    assert "eam:untrained" in done.stdout
    assert not re.search(r"\| +torch$", done.stderr, re.M)


@pytest.mark.slow
def test_a_backend_tunes_and_is_measured(tunesmith: Command, tmp_path: Path) -> None:
    """As its page says."""
    tune, evaluate = (commands("write-a-backend", start)[0] for start in ("tune", "evaluate"))
    tune[-1] = evaluate[1] = str(tmp_path / "run")
    done = tunesmith(*tune)
    assert done.returncode == 0, done.stderr[-600:]
    done = tunesmith(*evaluate, "--json")
    assert done.returncode == 0, done.stderr[-600:]
    assert json.loads(done.stdout)["force_mae_meV_per_A"] > 0
