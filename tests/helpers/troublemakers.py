"""Real ASE calculators that misbehave, for the tests of what `Engine` does about it."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT


class Spring(Calculator):
    """E = k/2 Σ x², with an entropy term so that energy and free energy differ."""

    implemented_properties = ("energy", "free_energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        k = self.parameters.get("k", 2.0)
        free = 0.5 * k * float((atoms.positions**2).sum())
        self.results = {
            "energy": free + 0.25,
            "free_energy": free,
            "forces": -k * atoms.positions,
        }


class Sleeper(Spring):
    """Never answers; a program it started sleeps beside it. Writes both process ids."""

    def calculate(self, *arguments, **more):
        child = subprocess.Popen(["sleep", "600"])
        Path(self.parameters["pids"]).write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)


class Leaver(Spring):
    def calculate(self, *arguments, **more):
        os._exit(7)


class Segfault(Spring):
    def calculate(self, *arguments, **more):
        os.kill(os.getpid(), signal.SIGSEGV)


class Raiser(Spring):
    def calculate(self, *arguments, **more):
        print("words before the end", flush=True)
        raise ValueError("no such thing")


class Importer(Spring):
    def calculate(self, *arguments, **more):
        import a_package_nobody_has  # noqa: F401


class Undefined(Spring):
    def calculate(self, *arguments, **more):
        super().calculate(*arguments, **more)
        self.results["forces"][0, 0] = np.nan


class Whereabouts(Spring):
    """Says through its energy nothing, and writes where it ran and with how many threads."""

    def calculate(self, *arguments, **more):
        super().calculate(*arguments, **more)
        words = (os.getcwd(), os.environ["OMP_NUM_THREADS"], str(os.getpid()))
        Path(self.parameters["note"]).write_text("\n".join(words))


class Counted(EMT):
    """EMT that writes one line per calculation."""

    def calculate(self, *arguments, **more):
        with open("calls.txt", "a") as file:
            file.write("once\n")
        super().calculate(*arguments, **more)
