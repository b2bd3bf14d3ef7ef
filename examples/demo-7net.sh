#!/usr/bin/env bash
# The demo of a public foundation model: fine-tune SevenNet-0 to real DFT, errors before and after.
# `make demo-7net` runs it in its own environment; a second run finds everything done.
set -euo pipefail
cd "$(dirname "$0")/.."
. examples/steps.sh

data=examples/data
run=runs/ethanol-7net

cat <<'TEXT'
SevenNet-0 is a public foundation model of 89 elements, trained on crystals (MPtrj, PBE). It has
never seen a molecule in vacuum. Here it learns ethanol at PBE/def2-SVP from 60 structures, and is
judged on 40 others before and after. It takes a few minutes.
TEXT
mkdir -p runs

step "Before: errors of 7net-0"
show tunesmith evaluate 7net-0 $data/ethanol-test.xyz --relative --json >runs/ethanol-7net-before.json

step "Fine-tuning"
show tunesmith tune --model 7net-0 --train $data/ethanol-train.xyz --out $run --strategy naive \
    --set tune.sampler.epochs=60 --set tune.sampler.schedule=cosine || no_tune $?

step "After: errors of the tuned model"
show tunesmith evaluate $run $data/ethanol-test.xyz --plots $run --json >runs/ethanol-7net-after.json

python examples/before_after.py runs/ethanol-7net-before.json runs/ethanol-7net-after.json
cat <<TEXT

$run/final.model          the tuned model, a checkpoint for sevenn's SevenNetCalculator and LAMMPS
$run/parity.png           predicted against DFT; learning_curves.png: how it got there

Next: tunesmith models            every model that can be loaded here
      docs/reference/backends.md  what each of them can do
TEXT
