"""Look at a data set before anything is trained on it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tunesmith.contracts import Posterior
from tunesmith.core import Frame, derived_seed
from tunesmith.data.checks import separate_isolated
from tunesmith.data.formats import Beside
from tunesmith.doctor.energies import judge_energies
from tunesmith.doctor.energy_zeros import judge_zeros, per_atom
from tunesmith.doctor.findings import Diagnosis, Finding, finding, ordered
from tunesmith.doctor.forces import HANDFUL, as_energies, judge_forces
from tunesmith.doctor.label_checks import constrained, judge_labels, net_force, placeholders
from tunesmith.doctor.likeness import SURE, WELL, Forces, size_of
from tunesmith.doctor.misplaced import LITTLE, other_elements
from tunesmith.doctor.paths import corrected, matched
from tunesmith.doctor.periodicity import judge_periodicity
from tunesmith.doctor.sets import judge_duplicates, judge_overlap
from tunesmith.doctor.stress import judge_stress
from tunesmith.doctor.structure_checks import judge_structures
from tunesmith.doctor.view import View, look
from tunesmith.doctor.work import FEW_PAIRS, Work, agree, confirmed, work

_AN_EV = 1.0  # eV/Å, rms: the foundation's energy is off by as much where its forces are
#: cosine of `work.work` of forces that the foundation confirms and energies that are not theirs
_AGAINST = 0.3
#: findings that say nothing of a set to validate or test on
_OF_TRAINING = ("few-frames", "no-frames", "e0-missing")


def examine(
    train: Sequence[Frame],
    posterior: Posterior,
    *,
    test: Sequence[Frame] | None = None,
    valid: Sequence[Frame] | None = None,
    isolated: Sequence[Frame] = (),
    beside: Mapping[str, Beside] | None = None,
    seed: int = 0,
    energies: bool = True,
) -> Diagnosis:
    """Everything that would spoil a training on these frames, or its test, with its cure.

    posterior: the foundation model, which knows roughly what labels should look like: units,
    signs and the like are judged by consistency with it, never by the zero of energy. It predicts
    at most 200 frames, chosen by ``seed``. isolated: E0 frames; those among the others (by their
    config_type) are added. beside: what files say beside their frames, by origin. valid and test
    are looked at by themselves and for structures they share with ``train``. energies: whether they
    are to be learnt; else they may be NaN, and only structures, forces and stress are judged.
    """
    if not energies:
        train = [_forces_alone(f) for f in train]
        valid, test = ([_forces_alone(f) for f in s] if s else s for s in (valid, test))
    known = posterior.potential.elements
    learn, atoms = separate_isolated(list(train))
    atoms = [*isolated, *atoms]
    facts = {"train": _counts(learn), "isolated_atoms": len(atoms)}
    known_beside = beside or {}
    found = _judge(learn, atoms, posterior, known_beside, seed, facts, energies)
    _, of_atoms = judge_structures(atoms, known) if atoms else ([], [])
    found += [f for f in of_atoms if f.code not in ("few-frames", "no-frames", "unit-positions")]
    for name, other, code in (
        ("valid", valid, "valid-overlap"),
        ("test", test, "test-overlap"),
    ):
        if other is None:
            continue
        rest, extra = separate_isolated(list(other))
        facts[name] = _counts(rest)
        found += judge_overlap(learn, rest, code, name)
        own: dict[str, Any] = {}
        seed_of = derived_seed(seed, name)
        isolated_ = [*atoms, *extra]
        theirs = _judge(rest, isolated_, posterior, known_beside, seed_of, own, energies)
        found += [_of(name, f) for f in theirs if f.code not in _OF_TRAINING]
    return Diagnosis(ordered(found), facts)


def _forces_alone(frame: Frame) -> Frame:
    """With an energy of zero where there is none, and without a label where there are no forces."""
    label = frame.label
    if label is None or len(frame.atoms) == 1:
        return frame
    if np.isnan(label.forces).all():
        return replace(frame, label=None)
    return replace(frame, label=replace(label, energy=0.0))


def _of(name: str, f: Finding) -> Finding:
    return Finding(f.code, f.severity, f"{name} set: {f.message}", f.cure, f.frames)


def _counts(frames: Sequence[Frame]) -> dict[str, Any]:
    formulas = Counter(f.atoms.get_chemical_formula("hill") for f in frames)
    elements = sorted({s for f in frames for s in f.atoms.get_chemical_symbols()})
    return {
        "structures": len(frames),
        "atoms": sum(len(f.atoms) for f in frames),
        "compositions": dict(formulas.most_common()),
        "elements": elements,
        "with_stress": sum(f.label is not None and f.label.stress is not None for f in frames),
        "periodic": sum(bool(f.atoms.pbc.all()) for f in frames),
    }


def _judge(
    frames: list[Frame],
    atoms: list[Frame],
    posterior: Posterior,
    beside: Mapping[str, Beside],
    seed: int,
    facts: dict[str, Any],
    energies: bool,
) -> list[Finding]:
    """One set by itself; adds what was measured to ``facts``."""
    sound, found = judge_structures(frames, posterior.potential.elements)
    labelled, more = judge_labels(frames, beside, energies)
    found += more + _single(frames)
    usable = {id(f) for f in sound}
    labelled = [f for f in labelled if id(f) in usable and len(f.atoms) > 1]
    labelled, more = placeholders(labelled, posterior)
    found += more
    found += judge_duplicates(sound)
    if not labelled:
        facts["labels"] = "not judged: no sound structure has a usable label"
        return found
    view = look(posterior, labelled, seed)
    facts["predicted"] = len(view.frames)
    periodicity = judge_periodicity(view, posterior)
    found += periodicity
    if any(f.code in ("unit-positions", "unit-cell", "pbc-lost", "pbc-wrong") for f in found):
        facts["labels"] = "not judged: first the structures must be certain"
        return found
    held, more = constrained(view.frames, view.forces)
    found += more
    if held.mean() < 0.2:
        found += net_force(labelled)
    labels = [label.forces for label in view.labels]
    of_stress = own = Work(np.nan, np.nan, np.nan)
    if energies:
        of_stress = work(view, labels, part="stress", least=FEW_PAIRS)
        own = work(view, labels, least=FEW_PAIRS)
        if np.isnan(own.cosine):
            own = work(view, labels, part="forces of strained", least=FEW_PAIRS)
    forces = judge_forces(view, own)
    if forces.agreed and any(f.code == "unknown-chemistry" for f in forces.findings):
        unlike = forces.cosine < SURE  # not NaN
        renamed = other_elements(view, posterior, unlike) if unlike.any() else None
        forces = replace(forces, findings=[renamed] if renamed else forces.findings)
    of_forces = [] if more and not forces.usable else forces.findings
    single = [f for f in frames if len(f.atoms) == 1]
    isolated = atoms or single
    stress, measured = judge_stress(view, of_stress, _known(forces))
    straight = forces.usable and not held.any()
    strained = bool(measured.keys() - {"stress"}) and not any(f.severity == "error" for f in stress)
    fixed = corrected(view, forces.forces, strained) if straight else view
    sure = (
        straight
        and view.one_order
        and matched(view)
        and (strained or not view.volume_varies(view.groups))
    )
    facts |= {**forces.facts, **measured}
    if not energies:
        return found + of_forces + stress
    factor = float(str(forces.facts.get("forces_ratio", 0.0)))
    one_system = forces.agreed or agree(of_stress) or as_energies(view, factor)
    in_ev = one_system and not any(f.code == "unit-forces" for f in forces.findings)
    against = forces.likeness >= WELL and own.cosine < _AGAINST
    judged = judge_energies(fixed, sure, per_atom(view, isolated), in_ev, against)
    right = judged.facts.get("energy_correlation", 0.0), judged.facts.get("energy_ratio", 0.0)
    found += [_if_known(f, own, *right) for f in of_forces]
    near = _near(view, forces)
    lost = any(f.code == "unknown-chemistry" for f in forces.findings)
    known = near & (not lost)
    kept = [_if_near(f, view, known) for f in judged.findings if not _one_level(f, view, forces)]
    found += _doubted(kept, view, forces, own)
    trusted = judged.scaled and not any(f.severity == "error" for f in judged.findings)
    zeros, of_zeros = judge_zeros(view, isolated, posterior.members.e0s, trusted, near)
    facts |= {**judged.facts, **of_zeros}
    return found + stress + zeros


def _known(forces: Forces) -> bool | None:
    """Whether the foundation knows these forces; None where there are none to tell."""
    if np.isnan(forces.likeness):
        return None
    lost = any(f.code == "unknown-chemistry" for f in forces.findings)
    return abs(forces.likeness) >= SURE and not lost


def _if_known(f: Finding, own: Work, correlation: object, ratio: object) -> Finding:
    """A warning, where nothing but a foundation says that forces are wrong, and its energies are
    wrong here as well."""
    alone = f.code == "forces-shuffled" and LITTLE in f.message and np.isnan(own.cosine)
    right = float(str(correlation)) > 0.9 and 0.6 < float(str(ratio)) < 1.6
    return replace(f, severity="warning") if alone and not right else f


def _if_near(f: Finding, view: View, near: np.ndarray) -> Finding:
    """Another level as a warning, where the foundation does not know the forces of its frames: far
    up a repulsive wall its energies are off as well."""
    where = np.isin([frame.origin for frame in view.frames], f.frames)
    lost = f.code == "mixed-levels" and near[where].mean() < 0.5
    return replace(f, severity="warning") if lost else f


def _near(view: View, forces: Forces) -> np.ndarray:
    """(n,) frames whose forces the foundation knows to an eV/Å; all, where nobody can tell."""
    if not forces.usable:
        return np.ones(len(view.frames), bool)
    off = zip(forces.forces, view.forces, strict=True)
    return np.array([size_of(a - b) < _AN_EV for a, b in off])


def _one_level(f: Finding, view: View, forces: Forces) -> bool:
    """Whether frames called of another level are joined to the others by the work of the forces."""
    where = np.isin([frame.origin for frame in view.frames], f.frames)
    if where.all() or not forces.usable:
        return False
    return confirmed(view, forces.forces, where)


def _doubted(findings: list[Finding], view: View, forces: Forces, own: Work) -> list[Finding]:
    """As warnings, where the foundation knows the forces badly, and neither many frames nor the
    labels' own forces speak against the energies: its energies are then no better."""
    known = forces.likeness >= WELL or np.isnan(forces.likeness)
    contradicted = np.isfinite(own.cosine) and not forces.agreed
    if known or (len(view.frames) >= HANDFUL and contradicted):
        return findings
    doubted = [f.severity == "error" and f.code != "energy-constant" for f in findings]
    return [
        replace(f, severity="warning") if doubt else f
        for f, doubt in zip(findings, doubted, strict=True)
    ]


def _single(frames: Sequence[Frame]) -> list[Finding]:
    single = [f for f in frames if len(f.atoms) == 1]
    if not single:
        return []
    text = f"{len(single)} frames hold one atom and would be learned from like structures"
    return [finding("isolated-unmarked", text, [f.origin for f in single])]
