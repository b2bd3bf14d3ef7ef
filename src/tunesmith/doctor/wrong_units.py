"""What 1 eV and 1 eV/Å read in other units."""

from ase import units as u

_KCAL, _KJ = u.kcal / u.mol, u.kJ / u.mol
#: what 1 eV reads in other units
ENERGY_UNITS = {
    "eV": 1.0,
    "Ha": 1 / u.Ha,
    "Ry": 1 / u.Ry,
    "kcal/mol": 1 / _KCAL,
    "kJ/mol": 1 / _KJ,
    "meV": 1000.0,
}
#: what a force of 1 eV/Å reads where it is in the unit of the energies over Å
AGREEING = {f"{name}/Å": factor for name, factor in ENERGY_UNITS.items()}
#: what a force of 1 eV/Å reads in other units
FORCE_UNITS = {
    "eV/Å": 1.0,
    "eV/Bohr": u.Bohr,
    "Ha/Bohr": u.Bohr / u.Ha,
    "Ha/Å": 1 / u.Ha,
    "Ry/Bohr": u.Bohr / u.Ry,
    "Ry/Å": 1 / u.Ry,
    "kcal/mol/Å": 1 / _KCAL,
    "kcal/mol/Bohr": u.Bohr / _KCAL,
    "kJ/mol/Å": 1 / _KJ,
    "kJ/mol/Bohr": u.Bohr / _KJ,
    "kJ/mol/nm": 10 / _KJ,
    "meV/Å": 1000.0,
    "eV/nm": 10.0,
}
