"""`tunesmith select` from the outside: what it chooses, writes and draws, and how it refuses."""

import functools
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import read, write
from matplotlib.image import imread

from tunesmith import terminal
from tunesmith.acquire import posterior_variance
from tunesmith.cli import app
from tunesmith.commands import select_structures
from tunesmith.core import E0s, Members
from tunesmith.features.compute_features import NTK, compute
from tunesmith.kernels import gram
from tunesmith.posterior import members_file
from tunesmith.posterior.ensemble import open_model
from tunesmith.potentials import zoo
from tunesmith.tune.subspace import All

POOL, TRAIN = 24, 5


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = terminal.run(app, [str(a) for a in arguments])
    out, err = capfd.readouterr()
    return code, out, err


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


def rattled(n: int, seed: int, names: tuple[str, ...] = ("H2O", "CH3OH", "CH4")) -> list[Atoms]:
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(n):
        atoms = molecule(names[i % len(names)])
        atoms.rattle(0.02 + 0.1 * rng.random(), rng=rng)
        frames.append(atoms)
    return frames


def with_labels(frames: list[Atoms]) -> list[Atoms]:
    rng = np.random.default_rng(99)
    for atoms in frames:
        atoms.info["REF_energy"] = float(rng.normal())
        atoms.arrays["REF_forces"] = rng.normal(size=(len(atoms), 3))
    return frames


@pytest.fixture(scope="module")
def opened() -> Callable[..., object]:
    """organic-xs opened once for all commands of this file."""
    return functools.cache(open_model)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, opened: Callable[..., object]) -> None:
    monkeypatch.setattr(select_structures, "open_model", opened)
    monkeypatch.delenv("TUNESMITH_DEBUG", raising=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    write("pool.xyz", rattled(POOL, 1))
    write("train.xyz", with_labels(rattled(TRAIN, 2)))
    return work


SELECT = ("select", "pool.xyz", "--labelled", "train.xyz")


def lcmd_by_hand(k: np.ndarray, m: int, n: int) -> list[int]:
    """Eqs. 9 to 11 of the paper on the whole kernel: labelled rows first, then the pool's."""
    d2 = np.diag(k)[:, None] + np.diag(k) - 2 * k
    centres = list(range(m))
    for _ in range(n):
        rest = [i for i in range(m, len(k)) if i not in centres]
        owner = {i: min(centres, key=lambda c: d2[i, c]) for i in rest}
        mass = {c: sum(d2[i, c] for i in rest if owner[i] == c) for c in centres}
        largest = max(centres, key=lambda c: mass[c])
        own = [i for i in rest if owner[i] == largest]
        centres.append(max(own, key=lambda i: d2[i, largest]))
    return [i - m for i in centres[m:]]


# --------------------------------------------------------------------------- what it does


@pytest.mark.usefixtures("drawn")
def test_the_example_chooses_as_the_paper_says(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capfd, *SELECT, "--n", 6, "--out", "chosen.xyz")
    assert code == 0, err
    pool, train = read("pool.xyz", ":"), read("train.xyz", ":")
    features = compute(NTK(), [*train, *pool], open_model("organic-xs"))
    k = gram(features, features, "cosine")
    expected = lcmd_by_hand(k, TRAIN, 6)
    chosen = read("chosen.xyz", ":")
    assert [a.info["select_origin"] for a in chosen] == [f"pool.xyz#{i}" for i in expected]
    assert [a.info["select_order"] for a in chosen] == [1, 2, 3, 4, 5, 6]
    nearest = k[TRAIN:][expected][:, :TRAIN].argmax(1)  # of unit vectors
    assert [a.info["select_nearest"] for a in chosen] == [f"train.xyz#{i}" for i in nearest]
    first = 2 - 2 * k[TRAIN + expected[0], nearest[0]]
    assert chosen[0].info["select_score"] in (
        pytest.approx(first, rel=1e-3),
        pytest.approx(np.sqrt(first), rel=1e-3),
    )
    for i, atoms in zip(expected, chosen, strict=True):
        np.testing.assert_array_equal(atoms.positions, pool[i].positions)
    assert out.splitlines()[-1] == (
        "6 of 24 candidates by lcmd (ntk of organic-xs) in chosen.xyz; map: chosen.png"
    )
    assert imread("chosen.png").shape[0] > 300
    assert {p.name for p in folder.iterdir()} == {
        "pool.xyz",
        "train.xyz",
        "chosen.xyz",
        "chosen.png",
    }


def test_json_holds_every_choice(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capfd, *SELECT, "--n", 12, "--out", "c.xyz", "--json", "--rule", "kcenter")
    result = json.loads(out)
    assert code == 0
    assert (result["n_candidates"], result["n_labelled"], result["n_chosen"]) == (POOL, TRAIN, 12)
    chosen = read("c.xyz", ":")
    assert [row["origin"] for row in result["chosen"]] == [a.info["select_origin"] for a in chosen]
    scores = [row["score"] for row in result["chosen"]]
    assert scores == sorted(scores, reverse=True), "distances to the nearest centre only fall"


@pytest.mark.parametrize(
    "options",
    [
        ("--rule", "lcmd"),
        ("--rule", "posterior-variance", "--noise", "0.01"),
        ("--rule", "kcenter", "--representation", "activation"),
        ("--rule", "random", "--seed", "3"),
        ("--representation", "morgan"),
        ("--representation", "soap"),
    ],
    ids=" ".join,
)
def test_without_labelled_structures(
    folder: Path, capfd: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    code, out, err = run(capfd, "select", "pool.xyz", "--n", 5, "--out", "c.xyz", *options)
    assert code == 0, err
    chosen = read("c.xyz", ":")
    assert len({a.info["select_origin"] for a in chosen}) == 5
    assert not any("select_nearest" in a.info for a in chosen)
    assert any("select_score" in a.info for a in chosen) == ("random" not in options)
    assert "nearest labelled" not in out
    again = run(capfd, "select", "pool.xyz", "--n", 5, "--out", "d.xyz", *options)
    assert again[0] == 0
    assert (folder / "c.xyz").read_bytes() == (folder / "d.xyz").read_bytes()


def test_another_seed_draws_others(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    drawn = []
    for seed in (0, 1):
        options = ("--rule", "random", "--representation", "morgan", "--seed", seed)
        out = f"{seed}.xyz"
        assert run(capfd, "select", "pool.xyz", "--n", 8, "--out", out, *options)[0] == 0
        drawn.append({a.info["select_origin"] for a in read(out, ":")})
    assert drawn[0] != drawn[1]


def test_several_files_in_any_order_are_one_pool(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    frames = read("pool.xyz", ":")
    write("a.xyz", frames[10:])
    write("b.traj", frames[:10])
    files = ("a.xyz", "b.traj", "--labelled", "train.xyz")
    assert run(capfd, *SELECT, "--n", 7, "--out", "one.xyz")[0] == 0
    assert run(capfd, "select", *files, "--n", 7, "--out", "two.xyz")[0] == 0
    for one, two in zip(read("one.xyz", ":"), read("two.xyz", ":"), strict=True):
        np.testing.assert_allclose(one.positions, two.positions, atol=1e-12)
    origins = {a.info["select_origin"].split("#")[0] for a in read("two.xyz", ":")}
    assert origins == {"a.xyz", "b.traj"}


def test_labels_and_what_else_a_frame_says_come_along(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    frames = read("pool.xyz", ":")
    with_labels(frames[::2])
    for i, atoms in enumerate(frames):
        atoms.info |= {"step": i, "charge": 0, "select_order": 77, "select_score": 7.0}
    write("pool.xyz", frames)
    options = ("--rule", "random", "--representation", "morgan")
    code, out, err = run(
        capfd, "select", "pool.xyz", "--n", 9, "--out", "c.xyz", "--json", *options
    )
    assert code == 0, err
    chosen = read("c.xyz", ":")
    for atoms in chosen:
        was = frames[int(atoms.info["select_origin"].split("#")[1])]
        assert atoms.info["step"] == was.info["step"]
        assert ("REF_energy" in atoms.info) == ("REF_energy" in was.info)
        if "REF_energy" in was.info:
            assert atoms.info["REF_energy"] == was.info["REF_energy"]
            np.testing.assert_allclose(atoms.arrays["REF_forces"], was.arrays["REF_forces"],
                                       atol=1e-8)  # fmt: skip
    assert [a.info["select_order"] for a in chosen] == list(range(1, 10))
    assert not any("select_score" in a.info for a in chosen), "that of an earlier choice"
    labels = sum("REF_energy" in a.info for a in chosen)
    assert json.loads(out)["n_chosen_with_label"] == labels


def committee(n: int) -> Path:
    """A run folder of members around organic-xs."""
    potential = zoo.load("organic-xs")
    weights, generator = potential.weights(), torch.Generator().manual_seed(3)
    moved = {
        name: weights[name] * (1 + 0.02 * torch.randn(n, *weights[name].shape, generator=generator))
        for name in potential.names.readouts
    }
    members = Members(potential.base, weights, All(), moved, E0s(potential.e0s))
    members_file.save(members, Path("run"))
    return Path("run")


def test_top_takes_what_members_disagree_about_most(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_folder = committee(3)
    pool = read("pool.xyz", ":")
    each = open_model(run_folder).predict(pool).members
    assert each is not None
    energy = np.std([q.energy for q in each], axis=0, ddof=1)
    atoms = np.linalg.norm(np.std([q.forces for q in each], axis=0, ddof=1), axis=1)
    ends = np.cumsum([0, *map(len, pool)])
    force = np.array([atoms[a:b].max() for a, b in pairwise(ends)])
    options = ("--model", run_folder, "--rule", "top", "--representation", "activation")
    for score, expected in (("committee-force", force), ("committee-energy", energy)):
        named = () if score == "committee-force" else ("--score", score)
        out = f"{score}.xyz"
        code, said, err = run(capfd, *SELECT, "--n", 4, "--out", out, *options, *named)
        assert code == 0, err
        order = np.argsort(expected)[::-1][:4]
        chosen = read(out, ":")
        assert [a.info["select_origin"] for a in chosen] == [f"pool.xyz#{i}" for i in order]
        got = [a.info["select_score"] for a in chosen]
        np.testing.assert_allclose(got, expected[order], rtol=2e-2)
        assert score in said


def test_copies_are_counted_and_not_taken_twice(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    frames = rattled(6, 5)
    turned = [a.copy() for a in frames]
    for atoms in turned:
        atoms.rotate(40, (1, 2, 3))
        atoms.translate((3, 4, 5))
    write("pool.xyz", [*frames, *turned])
    code, _, err = run(capfd, *SELECT, "--n", 6, "--out", "c.xyz", "--rule", "kcenter")
    assert code == 0
    assert "the pool has 6 copies of other candidates" in err
    numbers = [int(a.info["select_origin"].split("#")[1]) % 6 for a in read("c.xyz", ":")]
    assert sorted(numbers) == [0, 1, 2, 3, 4, 5]


def test_what_is_labelled_already_is_left_out(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    frames = read("pool.xyz", ":")
    known = read("train.xyz", ":")[:2]
    known[0].rotate(30, "x")
    write("pool.xyz", [known[0], *frames, known[1]])
    options = ("--n", POOL, "--out", "c.xyz", "--rule", "random", "--representation", "morgan")
    code, out, err = run(capfd, *SELECT, *options, "--json")
    assert code == 0, err
    assert "2 of the pool left out: labelled already" in err
    result = json.loads(out)
    assert (result["n_candidates"], result["n_left_out"]["labelled"]) == (POOL, 2)
    taken = {row["origin"] for row in result["chosen"]}
    assert taken == {f"pool.xyz#{i}" for i in range(1, POOL + 1)}


def test_a_second_round_leaves_out_what_the_first_could_not_label(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """select, label, select: what was labelled, what the reference refused and what is named."""
    apart = read("pool.xyz", 0)
    bond = apart.positions[1] - apart.positions[0]
    apart.positions[0] += 0.3 * bond  # so that its forces are over the limit
    write("pool.xyz", [*read("pool.xyz", ":"), apart])
    rule = ("--rule", "random", "--representation", "morgan")
    code, _, err = run(capfd, "select", "pool.xyz", "--n", POOL + 1, "--out", "all.xyz", *rule)
    assert code == 0, err
    some = [a for a in read("all.xyz", ":") if a.info["select_origin"] in
            ("pool.xyz#1", f"pool.xyz#{POOL}")]  # fmt: skip
    write("first.xyz", some)
    limit = ("--set", "reference.max_force=10 eV/Å")
    code, _, err = run(
        capfd, "label", "first.xyz", "--reference", "tblite", *limit, "--out", "labels.xyz"
    )
    assert (code, len(read("labels.xyz", ":"))) == (1, 1), err
    write("not.xyz", read("pool.xyz", slice(2, 4)))
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for named in ("labels.xyz", "labels.db", "lab*.xyz"):
        code, out, err = run(
            capfd, "select", "pool.xyz", "--labelled", named, "--exclude", "not.xyz",
            "--n", POOL - 3, "--out", f"{named[6:]}.c.xyz", *rule, "--json",
        )  # fmt: skip
        assert code == 0, err
        left = json.loads(out)["n_left_out"]
        assert left == {"labelled": 1, "failed": 1, "excluded": 2, "isolated_atoms": 0}
        assert "1 of the pool left out: failed to be labelled before" in err
        taken = {a.info["select_origin"] for a in read(f"{named[6:]}.c.xyz", ":")}
        assert taken == {f"pool.xyz#{i}" for i in range(POOL) if i not in (1, 2, 3)}
    assert all(path.read_bytes() == data for path, data in before.items())


def test_new_elements_can_be_meant(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write("pool.xyz", [*read("pool.xyz", ":"), *rattled(2, 8, ("NH3",))])
    code, _, err = run(capfd, *SELECT, "--n", 3, "--out", "c.xyz", "--new-elements")
    assert code == 0, err
    assert "N" in read("c.xyz", 0).symbols, "nothing is further from what is labelled"


def test_isolated_atoms_are_no_candidates(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    atom = Atoms("O")
    atom.info["config_type"] = "IsolatedAtom"
    for name in ("pool.xyz", "train.xyz"):
        write(name, [atom, *read(name, ":")])
    code, out, err = run(capfd, *SELECT, "--n", 3, "--out", "c.xyz", "--json")
    assert code == 0
    assert "1 of the pool left out: isolated atoms" in err
    result = json.loads(out)
    assert (result["n_candidates"], result["n_labelled"]) == (POOL, TRAIN)
    assert all(len(a) > 1 for a in read("c.xyz", ":"))


def test_features_are_kept_for_the_next_choice(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--n", 4, "--cache", "cache")
    assert run(capfd, *SELECT, "--out", "a.xyz", *options)[0] == 0
    kept = tree(folder / "cache")
    assert len(kept) == 2
    monkeypatch.setattr(NTK, "describer", lambda *_: pytest.fail("computed again"))
    monkeypatch.setattr(NTK, "prepare", lambda *_: None)
    assert run(capfd, *SELECT, "--out", "b.xyz", *options)[0] == 0
    assert (folder / "a.xyz").read_bytes() == (folder / "b.xyz").read_bytes()
    assert tree(folder / "cache") == kept


# ------------------------------------------------------------------------- how it refuses


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where every file is that a command refuses: none of them writes anything."""
    folder = tmp_path_factory.mktemp("yard")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        _fill_yard()
        yield folder


def _fill_yard() -> None:
    pool, train = rattled(POOL, 1), with_labels(rattled(TRAIN, 2))
    write("pool.xyz", pool)
    write("train.xyz", train)
    Path("empty.xyz").write_text("")
    text = Path("pool.xyz").read_text().splitlines()
    Path("cut.xyz").write_text("\n".join(text[:-2]) + "\n")
    turned = train[3].copy()
    turned.rotate(50, "y")
    write("overlap.xyz", [pool[0], turned, *pool[1:], train[0], train[1], train[2], train[4]])
    write("salt.xyz", [*pool, Atoms("NaCl", [[0, 0, 0], [0, 0, 2.4]])])
    write("ammonia.xyz", [*pool, *rattled(2, 4, ("NH3",))])
    write("clash.xyz", [*pool, Atoms("OH", [[0, 0, 0], [0, 0, 0.01]])])
    odd = pool[0].copy()
    odd.positions[0, 0] = np.nan
    write("nan.xyz", [*pool, odd])
    atom = Atoms("O")
    atom.info["config_type"] = "IsolatedAtom"
    write("atoms.xyz", atom)
    write("mixed.xyz", [*with_labels(rattled(2, 6)), *_plain(rattled(2, 7))])
    Path("mine.xyz").write_text("mine")
    Path("drawn.png").write_text("mine")


def _plain(frames: list[Atoms]) -> list[Atoms]:
    for atoms in frames:
        atoms.info["energy"] = 1.0
        atoms.arrays["forces"] = np.ones((len(atoms), 3))
    return frames


REFUSED: list[tuple[tuple[object, ...], str]] = [
    (("salt.xyz",), "salt.xyz#24: contains Na and Cl, which the model does not know"),
    (("ammonia.xyz",), "ammonia.xyz#24: has N, which no labelled structure has; check that the "),
    (("pool.xyz", "--n", 25), "the pool has 24 candidates, fewer than the 25 asked for"),
    (("overlap.xyz", "--n", 25), "the pool has 24 candidates, fewer than"),
    (("pool.xyz", "--n", 0), "acquire.batch: 0 was given, but a value of at least 1"),
    (("empty.xyz",), "empty.xyz: the file is empty"),
    (("nothing.xyz",), "nothing.xyz: there is no such file"),
    (("pool.xyz", "--labelled", "nothing.xyz"), "nothing.xyz: there is no such file"),
    (("cut.xyz",), "cut.xyz: frame 23 is cut off"),
    (("clash.xyz",), "clash.xyz#24: atoms 0 (O) and 1 (H) are 0.010 Å apart"),
    (("nan.xyz",), "nan.xyz#24: positions or cell are not finite"),
    (("atoms.xyz", "--n", 1), "the pool has no candidate (0 labelled already, 1 isolated"),
    (("mixed.xyz", "--n", 1), "mixed.xyz#2: has 'energy' but not 'REF_energy'"),
    (("pool.xyz", "pool.xyz"), "pool.xyz: named twice"),
    (("pool.xyz", "--labelled", "pool.xyz"), "pool.xyz: named as pool and as labelled"),
    (("pool.xyz", "--out", "c.txt"), "--out c.txt: structures are written as extxyz"),
    (("pool.xyz", "--out", "mine.xyz"), "mine.xyz exists; choose another --out"),
    (("pool.xyz", "--out", "drawn.xyz"), "drawn.png exists; choose another --out"),
    (("pool.xyz", "--out", "missing/c.xyz"), "missing: there is no such folder"),
    (("pool.xyz", "--rule", "lcm"), "--rule: there is no 'lcm'; did you mean 'lcmd'?"),
    (("pool.xyz", "--rule", "posterior_variance"), "did you mean 'posterior-variance'?"),
    (
        ("pool.xyz", "--representation", "ntkk"),
        "acquire.representation.kind: there is no 'ntkk'; did you mean 'ntk'?",
    ),
    (("pool.xyz", "--rule", "top", "--score", "committee-forces"), "acquire.score: "
     "'committee-forces' was given, but one of 'committee-energy', 'committee-force' or"),
    (("pool.xyz", "--score", "committee-force"), "acquire.score: no such setting of this kind; "
     "set acquire.kind to committee"),
    (("pool.xyz", "--noise", "0.1"), "acquire.noise: lcmd has none; leave it out, or set acq"),
    (("pool.xyz", "--rule", "posterior-variance", "--noise", "-1"), "acquire.noise: -1.0 was "),
    (("pool.xyz", "--rule", "top"), "organic-xs has one member, whose disagreement is nothing"),
    (("pool.xyz", "--representation", "soap", "--model", "organic-xs"), "--model: lcmd on soap "
     "asks no model; leave it out."),
    (("pool.xyz", "--representation", "soap", "--set", "model.head=a"), "--set model.head=a: lcmd "
     "on soap asks no model"),
    (("pool.xyz", "--model", "organic-sx"), "organic-xs"),
    (("pool.xyz", "--rule", "threshold"), "--rule: 'threshold' does not choose among"),
    (("pool.xyz", "--rule", "hot-md"), "--rule: 'hot-md' does not choose among candidates; use"),
    (("pool.xyz", "--rule", "random", "--representation", "ntkk"), "map.kind: there is no 'ntkk'"),
    (("pool.xyz", "--rule", "lcmd", "--set", "acquire.rule=kcenter"), "--set acquire.rule: also "),
    (("pool.xyz", "--set", "map.bits=1"), "map.kind: not given; use one of"),
    (("pool.xyz", "--set", "acquire.kernal=linear"), "acquire.kernal: no such setting; did you "),
    (("pool.xyz", "--seed", "-1"), "seed: -1 was given"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "says"), REFUSED)
def test_bad_input_is_one_sentence_and_writes_nothing(
    yard: Path,
    capfd: pytest.CaptureFixture[str],
    arguments: tuple[object, ...],
    says: str,
) -> None:
    usual: list[object] = []
    for option, value in (("--labelled", "train.xyz"), ("--n", 6), ("--out", "c.xyz")):
        usual += [option, value] if option not in arguments else []
    before = tree(yard)
    code, out, err = run(capfd, "select", *arguments, *usual)
    assert (code, out) == (2, "")
    [sentence] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert says in sentence
    assert sentence.endswith((".", "?"))
    assert tree(yard) == before


def test_options_about_labelled_structures_need_some(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capfd, "select", "pool.xyz", "--n", 1, "--out", "c.xyz", "--new-elements")
    assert (code, "--new-elements needs --labelled" in err) == (2, True)


def test_how_many_is_said_by_option_or_file(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capfd, *SELECT, "--out", "c.xyz")
    assert code == 2
    assert err == "error: acquire.batch: not given, but needed; say how many with --n N.\n"
    Path("select.yaml").write_text("acquire: {kind: random, batch: 3}\nmap: morgan\n")
    files = ("--config", "select.yaml", "--out")
    chosen = {}
    for out, n, more in (("a.xyz", 3, ()), ("b.xyz", 7, ("--n", 7))):
        code, said, err = run(capfd, *SELECT, *files, out, "--json", *more)
        assert code == 0, err
        summary = json.loads(said)
        assert (summary["rule"], summary["representation"]) == ("random", "morgan")
        chosen[n] = [a.info["select_origin"] for a in read(out, ":")]
        assert len(chosen[n]) == n
    options = ("--rule", "random", "--representation", "morgan", "--n", 7)
    assert run(capfd, *SELECT, *options, "--out", "c.xyz")[0] == 0
    assert Path("c.xyz").read_bytes() == Path("b.xyz").read_bytes(), "said by options alone"


def test_a_template_is_the_choice_of_the_defaults(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, text, _ = run(capfd, "template", "select", "--set", "acquire.batch=4")
    assert code == 0
    Path("select.yaml").write_text(text)
    assert run(capfd, *SELECT, "--config", "select.yaml", "--out", "a.xyz")[0] == 0
    assert run(capfd, *SELECT, "--n", 4, "--out", "b.xyz")[0] == 0
    assert Path("a.xyz").read_bytes() == Path("b.xyz").read_bytes()


def test_the_map_may_be_by_another_representation_than_the_rule(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choice, and what is said of it, stay the rule's."""
    drawn = []
    monkeypatch.setattr(select_structures, "selection_map", lambda *a, **k: drawn.append((a, k)))
    for out, more in (("a.xyz", ()), ("b.xyz", ("--set", "map=morgan"))):
        code, said, err = run(capfd, *SELECT, "--n", 4, "--out", out, *more)
        assert code == 0, err
        assert "by lcmd (ntk of organic-xs)" in said
    assert Path("a.xyz").read_bytes() == Path("b.xyz").read_bytes()
    assert [options["kernel"] for _, options in drawn] == ["cosine", "tanimoto"]
    assert drawn[1][1]["title"].endswith("representation morgan, tanimoto kernel")
    assert set(np.unique(drawn[1][0][0])) == {0, 1}, "bits"


def test_a_kernel_is_set_as_in_a_run(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = ("--n", 4, "--rule", "posterior-variance", "--set", "acquire.kernel=linear")
    code, out, err = run(capfd, *SELECT, *options, "--out", "a.xyz", "--json")
    assert code == 0, err
    assert json.loads(out)["kernel"] == "linear"
    model = open_model("organic-xs")
    pool, train = (compute(NTK(), read(f, ":"), model) for f in ("pool.xyz", "train.xyz"))
    picks = posterior_variance(pool, train, 4, kernel="linear")
    assert [a.info["select_origin"] for a in read("a.xyz", ":")] == [f"pool.xyz#{i}" for i in picks]


@pytest.mark.parametrize("options", [("--rule", "random", "--representation", "morgan"), ()])
def test_the_nearest_labelled_structure_is_named_by_every_rule(
    folder: Path, capfd: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    """Copies of labelled structures but for one atom, moved a little."""
    frames = read("train.xyz", ":")
    moved = [_moved(atoms) for atoms in frames]
    write("pool.xyz", moved)
    code, _, err = run(capfd, *SELECT, "--n", TRAIN, "--out", "c.xyz", *options)
    assert code == 0, err
    formulas = {f"train.xyz#{i}": atoms.symbols for i, atoms in enumerate(frames)}
    for atoms in read("c.xyz", ":"):
        assert str(formulas[atoms.info["select_nearest"]]) == str(atoms.symbols)


def _moved(atoms: Atoms) -> Atoms:
    other = Atoms(atoms.numbers, atoms.positions)
    other.positions[0] += 0.01
    return other


def _posterior(change):
    """organic-xs, changed, as what --model finds."""

    def opened(*_: object, **__: object) -> object:
        posterior = open_model("organic-xs")
        change(posterior)
        return posterior

    return opened


def test_a_model_without_the_representation_is_refused(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    def without(posterior):
        potential = posterior.potential
        potential.capabilities = replace(potential.capabilities, embedding=False)

    monkeypatch.setattr(select_structures, "open_model", _posterior(without))
    before = tree(folder)
    code, out, err = run(capfd, *SELECT, "--n", 3, "--out", "c.xyz")
    assert (code, out) == (2, "")
    assert "no species embedding, of which ntk is the gradient; use activation" in err
    assert tree(folder) == before


def test_features_that_are_no_numbers_are_refused(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(posterior):
        name = posterior.potential.names.readouts[0]
        posterior.weights[0] = posterior.weights[0] | {
            name: posterior.weights[0][name] * float("nan")
        }

    monkeypatch.setattr(select_structures, "open_model", _posterior(spoilt))
    before = tree(folder)
    code, out, err = run(capfd, *SELECT, "--n", 3, "--out", "c.xyz")
    assert (code, out) == (2, "")
    assert "train.xyz#0: its ntk representation is not finite" in err
    assert tree(folder) == before


def test_settings_of_the_representation_are_set_as_in_a_run(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = (*SELECT, "--n", 3, "--out", "c.xyz", "--representation", "morgan")
    few = "acquire.representation.bits=1"
    # one bit, which every molecule has: all are alike, and the first is as good as any
    code, out, err = run(capfd, *options, "--rule", "kcenter", "--set", few, "--json")
    assert code == 0, err
    assert [row["score"] for row in json.loads(out)["chosen"]] == [0, 0, 0]
    for change, said in (
        ("acquire.representation.bit=1", "no such setting; did you mean 'bits'?"),
        ("acquire.representation.kind=soap", "also given by its own option"),
    ):
        code, _, err = run(capfd, *options, "--set", change)
        assert (code, err.count("\n")) == (2, 1)
        assert said in err
