"""Small outputs of other codes, as short as ASE's readers take them."""

import numpy as np

CELL = np.diag([3.6, 3.6, 3.6])


def outcar_header(symbol: str, n: int) -> str:
    return (
        " vasp.6.4.1 05Apr23 (build) complex\n"
        f" POTCAR:    PAW_PBE {symbol} 01Jan2000\n POTCAR:    PAW_PBE {symbol} 01Jan2000\n"
        f"   VRHFIN ={symbol}: x\n   TITEL  = PAW_PBE {symbol} 01Jan2000\n"
        "   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of bands"
        "    NBANDS=     16\n"
        f"   number of dos      NEDOS =    301   number of ions     NIONS =      {n}\n"
        f"   ions per type =     {n}\n   ISPIN  =      1    spin polarized calculation?\n"
        "   NELM   =      3;   NELMIN=  2; NELMDL= -5     # of ELM steps\n"
        " k-points in reciprocal lattice and weights: x\n"
        "   0.00000000  0.00000000  0.00000000       1.000\n\n"
    )


def outcar_step(
    i: int, positions: np.ndarray, energy: float, ends: str = "because EDIFF is reached", n: int = 1
) -> str:
    """ends: what stands behind "aborting loop", "" for nothing; n: electronic iterations."""
    forces = 0.1 * positions - 0.1 * positions.mean(0)
    rows = "".join(
        " ".join(f"{x:13.6f}" for x in (*p, *f)) + "\n"
        for p, f in zip(positions, forces, strict=True)
    )
    vectors = "".join(" ".join(f"{x:12.9f}" for x in (*v, *v)) + "\n" for v in CELL)
    loops = "".join(f"----- Iteration {i:4d}({k:4d})  -----\n" for k in range(1, n + 1))
    return (
        loops
        + (f"---- aborting loop {ends} ----\n" if ends else "")
        + "\n  FORCE on cell =-STRESS in cart. coord.  units (eV):\n"
        "  in kB     16.02177    32.04353    48.06530    64.08707    80.10883    96.13060\n\n"
        " VOLUME and BASIS-vectors are now :\n"
        "      direct lattice vectors                 reciprocal lattice vectors\n"
        f"{vectors}\n POSITION                                       TOTAL-FORCE (eV/Angst)\n"
        f" ------\n{rows} ------\n    total drift:     0.0 0.0 0.0\n\n"
        "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  ------\n"
        f"  free  energy   TOTEN  =     {energy:.8f} eV\n\n"
        f"  energy  without entropy=     {energy:.8f}  energy(sigma->0) =     {energy:.8f}\n\n"
    )


def outcar(symbol: str, n: int, ends: list[str], seed: int = 0, loops: int = 1) -> str:
    """As many steps as ``ends`` has."""
    rng = np.random.default_rng(seed)
    steps = (
        outcar_step(i, rng.uniform(0, 3.6, (n, 3)).round(5), -4.0 * n - i, end, loops)
        for i, end in enumerate(ends, 1)
    )
    return outcar_header(symbol, n) + "".join(steps)


def orca(charge: int, multiplicity: int, populations: bool) -> str:
    """Water, or what is left of it; energy −76.25 Ha."""
    rows = [("O", 0.0, 0.0, 0.1), ("H", 0.0, 0.8, -0.5), ("H", 0.0, -0.8, -0.5)]
    atoms = "".join(f"  {s}  {x:12.6f}{y:12.6f}{z:12.6f}\n" for s, x, y, z in rows)
    gradient = "".join(
        f"   {i}   {s}   :   {x / 10:12.8f} {y / 10:12.8f} {z / 10:12.8f}\n"
        for i, (s, x, y, z) in enumerate(rows, 1)
    )
    charges = "".join(f"   {i} {s} :    0.000000\n" for i, (s, *_) in enumerate(rows))
    return (
        "                                 *****************\n"
        "                                 * O   R   C   A *\n"
        "                                 *****************\n\n"
        f" Total Charge           Charge          ....    {charge}\n"
        f" Multiplicity           Mult            ....    {multiplicity}\n"
        " Number of atoms                             ....      3\n\n"
        "---------------------------------\nCARTESIAN COORDINATES (ANGSTROEM)\n"
        f"---------------------------------\n{atoms}\n"
        "FINAL SINGLE POINT ENERGY      -76.250000000000\n\n"
        + (
            f"MULLIKEN ATOMIC CHARGES\n{charges}Sum of atomic charges:    0.0000000\n\n"
            if populations
            else ""
        )
        + f"------------------\nCARTESIAN GRADIENT\n------------------\n\n{gradient}\n"
        "The origin for moment calculation is the CENTER OF MASS  = ( 0.0,  0.0  0.0)\n"
        "Total Dipole Moment    :      0.00000       0.00000       0.70000\n\n"
        "                             ****ORCA TERMINATED NORMALLY****\n"
    )


def dump(columns: str, rows: list[str], units: str = "", steps: int = 2) -> str:
    """A LAMMPS text dump of a cubic box of 9 Å."""
    text = ""
    for step in range(steps):
        text += f"ITEM: UNITS\n{units}\n" if units and not step else ""
        text += (
            f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(rows)}\n"
            f"ITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\nITEM: ATOMS {columns}\n"
        )
        text += "".join(row + "\n" for row in rows)
    return text
