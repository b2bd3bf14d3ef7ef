"""What the doctor can find: one code for each, how bad it is, and how it is cured."""

from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "note"]


class Code(NamedTuple):
    """How bad a kind of finding is, what it means, and the cure."""

    severity: Severity
    meaning: str
    cure: str


_KEYS = "name the right keys (energy_key, forces_key, stress_key)"
#: error: training would be spoilt; warning: look at it; note: good to know
CODES: dict[str, Code] = {
    # ------------------------------------------------------------------ is it all there
    "unreadable": Code("error", "the file cannot be read", "do as the message says"),
    "energy-missing": Code(
        "error",
        "frames without energy",
        f"{_KEYS}, label or remove these frames, or learn from forces alone (tune.loss.energy=0)",
    ),
    "forces-missing": Code(
        "error", "frames without forces", f"{_KEYS}, or label or remove these frames"
    ),
    "label-missing": Code(
        "error", "frames without energy or forces", f"{_KEYS}, or label or remove these frames"
    ),
    "not-finite": Code(
        "error", "NaN or infinity in positions, cell or labels", "label again or remove them"
    ),
    "stress-missing": Code(
        "note",
        "some periodic frames have no stress",
        "nothing; only those that have one teach the stress",
    ),
    "stress-unused": Code(
        "warning",
        "there is a stress under a name that is not read",
        "name it (stress_key) or call it REF_stress if it is the reference's; else remove it",
    ),
    # ------------------------------------------------------------------ structures
    "unknown-element": Code(
        "error",
        "elements the model does not know",
        "remove such frames or choose a model that knows them",
    ),
    "overlap": Code(
        "error", "atoms on top of each other", "remove such frames, or correct their cell"
    ),
    "unit-positions": Code(
        "error",
        "positions are not in Å",
        "convert positions (and cell) to Å: 1 Bohr = 0.529177 Å, 1 nm = 10 Å",
    ),
    "unit-cell": Code(
        "error", "the cell is not in Å", "convert the cell to Å: 1 Bohr = 0.529177 Å"
    ),
    "pbc-lost": Code(
        "error",
        "periodic structures without periodicity or cell",
        "write the cell (Lattice) and pbc of the calculation into the file",
    ),
    "pbc-wrong": Code(
        "warning",
        "molecules stand in a periodic box, and may have been computed alone",
        'write pbc="F F F" if the calculation was not periodic; else nothing: labels go unjudged',
    ),
    "bad-structure": Code(
        "error",
        "no atoms, a cell without volume, or an isolated atom of many atoms",
        "correct or remove these frames",
    ),
    "charge-mixed": Code(
        "warning",
        "several charges or spin states in one set",
        "keep one: the model sees positions only",
    ),
    "no-frames": Code("error", "nothing to learn from", "give structures with labels"),
    "few-frames": Code("note", "very few frames", "label more, or expect an error bar to match"),
    # ------------------------------------------------------------------ energies
    "unit-energy": Code("error", "energies are not in eV", "convert the energies to eV"),
    "energy-per-atom": Code(
        "error", "energies are per atom, not total", "multiply them by the number of atoms"
    ),
    "energy-sign": Code(
        "error", "energies have the wrong sign", "turn the sign (binding energies are −E)"
    ),
    "energies-shuffled": Code(
        "error",
        "energies do not belong to their structures",
        "pair each structure with the energy of its own calculation",
    ),
    "energy-constant": Code(
        "error",
        "different structures have the same energy",
        "read the energy of each calculation, not of the first or a placeholder",
    ),
    "energy-rounded": Code(
        "warning", "energies have too few digits", "write them to at least 0.0001 eV"
    ),
    "free-energy": Code(
        "warning",
        "the energy in use is not the one the forces are the gradient of",
        "use the free energy (energy_key=free_energy), whose gradient the forces are",
    ),
    "outlier-energy": Code(
        "warning",
        "energies far from what the rest of the set lets expect",
        "look whether these calculations converged, to the state meant; label again or remove",
    ),
    "mixed-levels": Code(
        "error",
        "the energies are of two levels of theory (or codes, or charges)",
        "keep the frames of one, or label all of them the same way",
    ),
    "labels-disagree": Code(
        "error", "one structure has several labels", "keep the labels of one level of theory"
    ),
    # ------------------------------------------------------------------ zero of energy
    "e0-inconsistent": Code(
        "error",
        "isolated atoms and frames have different zeros of energy",
        "compute the atoms at the level, in the unit and with the spin (ground state) of the "
        "frames, or remove them: E0s are then re-estimated",
    ),
    "e0-mixed": Code(
        "error",
        "total and atomisation (or shifted) energies in one set",
        "write the total energies of all frames",
    ),
    "e0-missing": Code(
        "note",
        "no isolated atoms for some elements",
        "nothing; E0s are re-estimated. Isolated atoms (config_type=IsolatedAtom) are better",
    ),
    "isolated-unmarked": Code(
        "warning",
        "frames of one atom that are not marked as isolated atoms",
        "write config_type=IsolatedAtom to them: they fix E0s and are not learned from",
    ),
    # ------------------------------------------------------------------ forces
    "unit-forces": Code("error", "forces are not in eV/Å", "convert the forces to eV/Å"),
    "forces-sign": Code(
        "error", "forces have the wrong sign", "turn the sign: forces are minus the gradient"
    ),
    "forces-zero": Code(
        "error", "forces are exactly zero", "read the reference's forces, not placeholders"
    ),
    "forces-same": Code(
        "error",
        "the same force on every atom, or the same forces in several frames",
        "read the forces of each calculation",
    ),
    "forces-constrained": Code(
        "error",
        "forces of some atoms were set to zero by constraints",
        "read them without constraints: get_forces(apply_constraint=False)",
    ),
    "forces-shuffled": Code(
        "error",
        "forces do not belong to their atoms",
        "pair each structure with the forces of its own calculation, in the same order of atoms",
    ),
    "elements-order": Code(
        "error",
        "element names are in another order than positions and forces",
        "write the names in the order of the positions (line 6 of a POSCAR against its POTCAR)",
    ),
    "forces-rotated": Code(
        "error",
        "forces and positions are in different orientations",
        "take both in one orientation (Gaussian: nosymm; input against standard orientation)",
    ),
    "net-force": Code(
        "warning",
        "the forces of a structure do not add up to zero",
        "finer grids, no external field; look whether all atoms' forces are there and right",
    ),
    "outlier-forces": Code(
        "warning",
        "forces far from what the rest of the set lets expect",
        "look whether these calculations converged; label again or remove",
    ),
    "unknown-chemistry": Code(
        "warning",
        "the foundation's forces are wrong here, the labels are consistent",
        "nothing, or a foundation that knows these; the unit of the forces goes unjudged",
    ),
    # ------------------------------------------------------------------ stress
    "stress-sign": Code(
        "error", "stress has the wrong sign", "turn the sign: positive under tension (ASE)"
    ),
    "stress-voigt": Code(
        "error",
        "shear components are in another order",
        "write xx yy zz yz xz xy (ASE), or nine numbers; VASP has xx yy zz xy yz zx",
    ),
    "unit-stress": Code(
        "error", "stress is not in eV/Å³", "convert: 1 GPa = 0.00624151 eV/Å³, 1 kbar = a tenth"
    ),
    "stress-unrelated": Code(
        "warning", "stress does not belong to the structures", "check where it was read from"
    ),
    # ------------------------------------------------------------------ sets
    "duplicates": Code(
        "warning",
        "the same structure several times (also moved, turned or with atoms in another order)",
        "remove copies; they count twice in the loss",
    ),
    "near-duplicates": Code(
        "note", "structures that hardly differ", "take frames further apart in time"
    ),
    "test-overlap": Code(
        "error",
        "test structures are in the training set",
        "remove them from one: such a test measures nothing",
    ),
    "valid-overlap": Code(
        "warning",
        "validation structures are in the training set",
        "remove them from one: such a validation cannot choose the best epoch",
    ),
}


#: what no training can live with: accepting it would only put the refusal off
UNLEARNABLE = frozenset((
    *("unreadable", "energy-missing", "forces-missing", "label-missing", "not-finite"),
    *("unknown-element", "overlap", "bad-structure", "forces-zero", "forces-same", "no-frames"),
))  # fmt: skip
