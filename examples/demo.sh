#!/usr/bin/env bash
# The demo: fine-tune the embedded organic-xs to real DFT, and see the errors before and after.
# `make demo-tune` runs it in its own environment; a second run finds everything done.
set -euo pipefail
cd "$(dirname "$0")/.."
. examples/steps.sh

data=examples/data
run=runs/ethanol-tune

cat <<'TEXT'
organic-xs, a small foundation model of organic molecules, was trained on GFN2-xTB and has never
seen ethanol. Here it learns ethanol at the level of density functional theory (PBE/def2-SVP) from
60 structures, and is judged on 40 others before and after. It takes a few minutes.
TEXT
mkdir -p runs

step "The reference is real: PySCF labels new structures"
show tunesmith label $data/ethanol-unlabelled.xyz --reference pyscf \
    --set reference.xc=pbe --out runs/ethanol-new.xyz

step "Before: errors of organic-xs"
show tunesmith evaluate organic-xs $data/ethanol-test.xyz --relative --json >runs/ethanol-before.json

step "Fine-tuning"
show tunesmith tune --model organic-xs --train $data/ethanol-train.xyz --out $run \
    --set tune.sampler.epochs=200 --set tune.sampler.learning_rate=0.003 \
    --set tune.sampler.schedule=cosine || no_tune $?

step "After: errors of the tuned model"
show tunesmith evaluate $run $data/ethanol-test.xyz --plots $run --json >runs/ethanol-after.json

python examples/before_after.py runs/ethanol-before.json runs/ethanol-after.json
cat <<TEXT

$run/final.model          the tuned model, for mace.calculators.MACECalculator and LAMMPS
$run/parity.png           predicted against DFT; learning_curves.png: how it got there

Next: tunesmith evaluate $run $data/ethanol-test.xyz     all errors, per element
      tunesmith template tune                              every setting of a fine-tuning
      and the README, for structures of your own
TEXT
