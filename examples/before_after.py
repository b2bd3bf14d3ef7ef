"""Print the errors of two `tunesmith evaluate --json` results side by side."""

import json
import sys

ROWS = (
    ("force RMSE", "force_rmse_meV_per_A", "meV/Å"),
    ("force MAE", "force_mae_meV_per_A", "meV/Å"),
    ("energy RMSE", "energy_rmse_meV_per_atom", "meV/atom"),
    ("energy MAE", "energy_mae_meV_per_atom", "meV/atom"),
)

results = []
for path in sys.argv[1:3]:
    with open(path, encoding="utf-8") as file:
        results.append(json.load(file))
before, after = results

print(f"\nErrors on {after['n_frames']} structures never trained on   BEFORE     AFTER")
for name, key, unit in ROWS:
    print(f"  {name:<12} {unit:<22} {before[key]:>11.1f} {after[key]:>9.1f}")
if before["energies"] != after["energies"]:
    print(f"  (energies: {before['energies']} before, {after['energies']} after)")
