"""The command line: options in, one call, result out. Heavy imports wait for their command."""

import sys
from dataclasses import asdict
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from tunesmith import terminal

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 98},
    help="Fine-tune a foundation interatomic potential to your system.",
    epilog="Start: tunesmith models; tunesmith template tune. Every command: COMMAND --help.",
)

Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="YAML file of settings.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change one setting by its full path, as tune.sampler.epochs=50; repeatable.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")]
EnergyKey = Annotated[
    str | None, typer.Option("--energy-key", metavar="KEY", help="Where energies stand.")
]
ForcesKey = Annotated[
    str | None, typer.Option("--forces-key", metavar="KEY", help="Where forces stand.")
]
StressKey = Annotated[
    str | None, typer.Option("--stress-key", metavar="KEY", help="Where stress stands.")
]
Head = Annotated[
    str | None, typer.Option("--head", metavar="NAME", help="Head of a multi-head model.")
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:N or mps.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"tunesmith {package_version('tunesmith')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    pass


# ------------------------------------------------------------------------------ label


@app.command()
def label(
    frames: Annotated[Path, typer.Argument(metavar="FRAMES", help="File of structures.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Labelled structures, as extxyz.")
    ],
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="KIND", help="Engine, as pyscf; see template label."),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store", metavar="FILE", help="Database of labels. [default: OUT with suffix .db]"
        ),
    ] = None,
    config_file: Config = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Label structures with a reference method.

    Each label is stored as soon as it exists: run the same command again to go on after an
    interruption; no label is computed twice. Exit code 1: some structures could not be labelled.

    Example: tunesmith label frames.xyz --reference pyscf --set reference.xc=pbe --out labels.xyz
    """
    from tunesmith import config, labelling

    shortcuts = {"reference.kind": reference} if reference else {}
    engine = config.load(config.LabelConfig, config_file, set_ or (), shortcuts).reference
    job = labelling.prepare(frames, out, store or out.with_suffix(".db"), engine)
    with terminal.only_results(), terminal.progress(terminal.notes()) as bar:
        labelling.run(job, engine, bar)
    terminal.give(job.summary(), json, job.show)
    raise typer.Exit(1 if job.failures else 0)


# ------------------------------------------------------------------------------- tune


@app.command()
def tune(
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The run's folder.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="MODEL", help="Name, model file or run folder. [default: organic-xs]"
        ),
    ] = None,
    train: Annotated[
        list[str] | None,
        typer.Option("--train", metavar="FILE", help="Labelled structures; repeatable."),
    ] = None,
    valid: Annotated[
        str | None,
        typer.Option(
            "--valid",
            metavar="FILE",
            help="Structures that decide the best epoch. [default: a tenth of --train]",
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy",
            metavar="NAME",
            help="As lora; see tunesmith strategies. [default: by the data]",
        ),
    ] = None,
    scope: Annotated[
        str | None,
        typer.Option(
            "--scope", metavar="narrow|broad", help="For structures like those learnt, or for any."
        ),
    ] = None,
    config_file: Config = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Fine-tune a model to labelled structures.

    The same command resumes an interrupted run, to the same result. The folder then holds
    final.model for the model's own package, the resolved config.yaml, summary.json and pictures.

    Example: tunesmith tune --model organic-xs --train train.xyz --out run
    """
    from tunesmith import config

    given = {
        "model.source": model,
        "data.train": train,
        "data.valid": valid,
        "strategy": strategy,
        "scope": scope,
    }
    shortcuts = {path: value for path, value in given.items() if value}
    settings = config.load(config.TuneConfig, config_file, set_ or (), shortcuts)
    from tunesmith.tune.job import fine_tune

    with terminal.only_results():
        summary = fine_tune(settings, out, terminal.notes())
    terminal.give(summary, json, lambda screen: screen.print(f"done: {out / 'final.model'}"))


# -------------------------------------------------------------------------------- run


@app.command()
def run(
    config_file: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="YAML file of settings; see template run.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="The run's folder. [default: runs/CONFIG]"),
    ] = None,
    set_: Set = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything, time one step, label and update."),
    ] = False,
    json: Json = False,
) -> None:
    """Simulate, ask the reference where needed, and learn.

    Or in rounds: choose from a pool (explore.kind: pool) or attack (cago). The same command resumes
    an interrupted run, to the same result. The folder then holds every label, the trajectory,
    final.model, its committee, summary.json and a picture. Exit code 1: ended before what was asked
    for was done.

    Example: tunesmith run recipes/ethanol.yaml
    """
    from tunesmith import config

    settings = config.load_run(config_file, set_ or ())
    folder = out or Path("runs") / config_file.stem
    from tunesmith.loop import estimate, job

    with terminal.only_results():
        if dry_run:
            cost = estimate.estimate(settings, folder, terminal.notes())
        else:
            summary = job.run(settings, folder, terminal.notes())
    if dry_run:
        terminal.give(cost, json, lambda screen: estimate.show(cost, screen))
        return
    terminal.give(summary, json, lambda screen: job.show(summary, screen))
    raise typer.Exit(0 if summary["as_asked"] else 1)


# --------------------------------------------------------------------------- evaluate


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name, model file or run folder.")],
    frames: Annotated[Path, typer.Argument(metavar="FILE", help="Labelled structures.")],
    plots: Annotated[
        Path | None, typer.Option("--plots", metavar="FOLDER", help="Write plots there.")
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            "--threshold",
            metavar="WHAT=VALUE",
            help="Largest error wanted, as 'force=0.1 eV/Å' or 'energy=5 meV per atom'; "
            "repeatable.",
        ),
    ] = None,
    relative: Annotated[
        bool,
        typer.Option("--relative", help="Compare energies within each composition only."),
    ] = False,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    head: Head = None,
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="TYPE", help="float32 or float64.")
    ] = "float32",
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Compare a model's energies, forces and stress with labels.

    Example: tunesmith evaluate run test.xyz --plots plots
    """
    from tunesmith import assessing
    from tunesmith.config import ModelSettings
    from tunesmith.settings import build

    limits = assessing.thresholds(threshold or ())
    named = {"source": model, "head": head, "dtype": dtype, "device": device}
    start = build(ModelSettings, named, "model")
    keys = (energy_key, forces_key, stress_key)
    with terminal.only_results():
        summary = assessing.assess(
            start, frames, keys, limits, relative=relative, plots=plots, notes=terminal.notes()
        )
    terminal.give(summary, json, lambda screen: assessing.show(summary, screen))


# ----------------------------------------------------------------------------- select


@app.command()
def select(
    pool: Annotated[
        list[Path], typer.Argument(metavar="POOL...", help="Files of structures to choose from.")
    ],
    n: Annotated[int, typer.Option("--n", metavar="N", help="How many to choose.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The chosen structures, as extxyz.")
    ],
    labelled: Annotated[
        list[Path] | None,
        typer.Option("--labelled", metavar="FILE", help="What is labelled already; repeatable."),
    ] = None,
    representation: Annotated[
        str,
        typer.Option("--representation", metavar="NAME", help="ntk, activation, soap or morgan."),
    ] = "ntk",
    rule: Annotated[
        str,
        typer.Option(
            "--rule", metavar="NAME", help="lcmd, posterior-variance, kcenter, top or random."
        ),
    ] = "lcmd",
    score: Annotated[
        str | None,
        typer.Option("--score", metavar="NAME", help="Of top. [default: committee-force]"),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option("--noise", metavar="X", help="λ of posterior-variance. [default: 0.001]"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="MODEL", help="Name, model file or run folder. [default: organic-xs]"
        ),
    ] = None,
    skip_labelled: Annotated[
        bool, typer.Option("--skip-labelled", help="Leave out what is labelled already.")
    ] = False,
    new_elements: Annotated[
        bool, typer.Option("--new-elements", help="Take elements that --labelled lacks.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option("--cache", metavar="FOLDER", help="Keep features there.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of random and the map.")] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="A setting of the representation, as acquire.representation.r_cut='5 Å'.",
        ),
    ] = None,
    head: Head = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="NAME", help="As cuda. [default: cpu]")
    ] = None,
    json: Json = False,
) -> None:
    """Choose from a pool which structures to label.

    Writes them in the order of choice, and a map beside them (FILE with suffix .png).

    Example: tunesmith select pool.xyz --labelled train.xyz --n 100 --out chosen.xyz
    """
    from tunesmith.selecting import job
    from tunesmith.selecting.wanted import Wanted

    wanted = Wanted(
        tuple(pool),
        out,
        n,
        labelled=tuple(labelled or ()),
        representation=representation,
        rule=rule,
        score=score,
        noise=noise,
        model=model,
        head=head,
        device=device,
        skip_labelled=skip_labelled,
        new_elements=new_elements,
        cache=cache,
        seed=seed,
        changes=tuple(set_ or ()),
    )
    with terminal.only_results():
        notes = terminal.notes()
        summary = job.select(wanted, notes, terminal.progress(notes))
    terminal.give(summary, json, lambda screen: job.show(summary, screen))


# ----------------------------------------------------------------------------- attack


@app.command()
def attack(
    frames: Annotated[Path, typer.Argument(metavar="FRAMES", help="File of structures.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Structures reached, as extxyz.")
    ],
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="ERROR", help="Wanted for every atom: '100 meV/Å'."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="FOLDER", help="Run folder with several members."),
    ] = None,
    members: Annotated[
        int | None,
        typer.Option("--members", metavar="N", help="How many attack. [default: all]"),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="KIND", help="Label them, and show real errors."),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option("--store", metavar="FILE", help="Database of labels. [default: OUT's .db]"),
    ] = None,
    uncalibrated: Annotated[
        bool, typer.Option("--uncalibrated", help="Take the members' spread for their error.")
    ] = False,
    beyond_calibration: Annotated[
        bool,
        typer.Option("--beyond-calibration", help="Take a target outside the calibrated range."),
    ] = False,
    config_file: Config = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Move structures to a chosen force error of a committee.

    Such structures teach more than those of a trajectory, and can still be labelled.

    Example: tunesmith attack frames.xyz --model run --target "100 meV/Å" --out attacked.xyz
    """
    from tunesmith import config

    given = {
        "attack.target": target,
        "model.source": model,
        "members": members,
        "reference.kind": reference,
        "uncalibrated": uncalibrated or None,
        "beyond_calibration": beyond_calibration or None,
    }
    shortcuts = {path: value for path, value in given.items() if value is not None}
    settings = config.load(config.AttackConfig, config_file, set_ or (), shortcuts)
    from tunesmith.attacking import job

    with terminal.only_results():
        task = job.prepare(settings, frames, out, store)
        with terminal.progress(terminal.notes()) as bar:
            summary = job.run(task, bar)
    terminal.give(summary, json, lambda screen: job.show(summary, screen))
    raise typer.Exit(1 if summary["n_failed"] else 0)


# ------------------------------------------------------------------------- strategies


@app.command()
def strategies(json: Json = False) -> None:
    """List the strategies known by name.

    What each lets move, what holds it, and when to use it.

    Example: tunesmith template tune --set strategy=lora
    """
    from tunesmith.tune.strategies import STRATEGIES

    def show(screen: Console) -> None:
        names = ("name", "what moves", "what holds it", "sampler", "rate", "when to use it")
        table = Table(*(Column(n, no_wrap=n in ("name", "rate")) for n in names), box=SIMPLE_HEAD)
        for name, s in STRATEGIES.items():
            kind, rate = s.sampler["kind"], f"{s.sampler['learning_rate']:g}"
            table.add_row(name, s.moves, s.held, kind, rate, s.when)
        screen.print(table)

    terminal.give([{"name": n, **asdict(s)} for n, s in STRATEGIES.items()], json, show)


# ------------------------------------------------------------------------------ doctor


@app.command()
def doctor(
    data: Annotated[
        list[Path], typer.Option("--data", metavar="FILE", help="Structures to learn; repeatable.")
    ],
    model: Annotated[
        str, typer.Option("--model", metavar="MODEL", help="The foundation: name, file or folder.")
    ] = "organic-xs",
    test: Annotated[
        Path | None, typer.Option("--test", metavar="FILE", help="Structures to test on.")
    ] = None,
    valid: Annotated[
        Path | None, typer.Option("--valid", metavar="FILE", help="Structures to validate on.")
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option("--accept", metavar="CODE", help="A finding that is right; repeatable."),
    ] = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    head: Head = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Look at a data set before training on it.

    Units, signs, missing or misplaced labels, zeros of energy, duplicates: each finding with its
    cure. Exit code 1: training should not go ahead.

    Example: tunesmith doctor --data train.xyz --test test.xyz
    """
    from tunesmith import examining
    from tunesmith.config import ModelSettings
    from tunesmith.settings import build

    foundation = build(ModelSettings, {"source": model, "head": head, "device": device}, "model")
    with terminal.only_results():
        summary = examining.examine_files(
            foundation,
            data,
            test=test,
            valid=valid,
            keys=(energy_key, forces_key, stress_key),
            accept=accept or (),
        )
    terminal.give(summary, json, lambda screen: examining.show(summary, screen))
    raise typer.Exit(0 if summary["fit_for_training"] else 1)


# ------------------------------------------------------------------------------- check


@app.command()
def check(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name, model file or run folder.")],
    start: Annotated[Path, typer.Argument(metavar="START", help="File of the start structure.")],
    time: Annotated[
        str, typer.Option("--time", metavar="TIME", help="Simulated, of each replica.")
    ] = "5 ps",
    md: Annotated[
        list[str] | None,
        typer.Option(
            "--md",
            metavar="NAME=VALUE",
            help="A setting of the dynamics, as ensemble=npt (docs/explore.md); repeatable.",
        ),
    ] = None,
    replicas: Annotated[
        int, typer.Option("--replicas", metavar="N", help="Trajectories of each member.")
    ] = 3,
    mean: Annotated[
        bool, typer.Option("--mean", help="Simulate the members' mean, not each member.")
    ] = False,
    equilibration: Annotated[
        str | None,
        typer.Option(
            "--equilibration", metavar="TIME", help="Left out of averages. [default: a fifth]"
        ),
    ] = None,
    min_distance: Annotated[
        str,
        typer.Option(
            "--min-distance", metavar="X", help="A fraction of covalent radii, or as '0.4 Å'."
        ),
    ] = "0.5",
    every: Annotated[
        int, typer.Option("--every", metavar="N", help="Steps between looks at distances.")
    ] = 100,
    species: Annotated[
        list[str] | None,
        typer.Option("--species", metavar="X", help="Elements to average; repeatable."),
    ] = None,
    frame: Annotated[
        int | None, typer.Option("--frame", metavar="N", help="Which structure of START, from 0.")
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", metavar="N", help="That share the replicas.")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of all replicas.")] = 0,
    head: Head = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Simulate with a model: is it stable, and what does it say?

    Which members' dynamics holds; density, self-diffusion and coordination numbers of those that
    do. Exit code 1: a member is not stable.

    Example: tunesmith check run water.xyz --md ensemble=npt --time '20 ps'
    """
    from tunesmith.check import job
    from tunesmith.check.wanted import Wanted
    from tunesmith.config import ModelSettings
    from tunesmith.settings import build

    named = {"source": model, "head": head, "device": device}
    wanted = Wanted(
        build(ModelSettings, named, "model"),
        start,
        frame=frame,
        md=tuple(md or ()),
        time=time,
        replicas=replicas,
        equilibration=equilibration,
        min_distance=min_distance,
        every=every,
        species=tuple(species or ()),
        mean=mean,
        processes=processes,
        seed=seed,
    )
    with terminal.only_results():
        notes = terminal.notes()
        summary = job.check(wanted, notes, terminal.progress(notes))
    terminal.give(summary, json, lambda screen: job.show(summary, screen))
    of = summary["stable_members"]
    raise typer.Exit(0 if of["k"] == of["n"] else 1)


# ------------------------------------------------------------------- models, template, trust


@app.command()
def models(json: Json = False) -> None:
    """List the models known by name.

    And whether each is here or how to get it.
    """
    from tunesmith.potentials import zoo

    entries = zoo.known()

    def show(screen: Console) -> None:
        table = Table("name", "package", "elements", "domain", "licence", "here")
        for e in entries:
            here = "yes" if e.available else e.how_to_get
            table.add_row(e.name, e.package, e.elements, e.domain, e.licence, here)
        screen.print(table)

    terminal.give([asdict(e) for e in entries], json, show)


@app.command()
def template(
    what: Annotated[
        str, typer.Argument(metavar="tune|label|run|pool|cago|attack", help="Which configuration.")
    ],
    set_: Set = None,
    json: Json = False,
) -> None:
    """Print a configuration to start from.

    It holds every setting with its default and its meaning.

    Example: tunesmith template label --set reference.kind=pyscf > label.yaml
    """
    from tunesmith import config

    text = config.template(what, set_ or ())
    terminal.give({"template": what, "yaml": text}, json, lambda _: print(text, end=""))


@app.command()
def trust(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A model file (a pickle).")],
    json: Json = False,
) -> None:
    """Vouch for a third-party model file, once.

    Loading such a file may run any code it contains, so tunesmith asks first. Remembered is the
    file's content (sha256), not its name: a changed file is asked about again.
    """
    from tunesmith.potentials import trust as trusted

    digest = trusted.trust(file)
    result = {"file": str(file), "sha256": digest, "remembered_in": str(trusted.registry_path())}
    text = f"""{file} is trusted from now on: loading it may run any code it contains.
sha256 {digest}
remembered in {trusted.registry_path()}; delete its line there to take the trust back."""
    terminal.give(result, json, lambda _: print(text))


def main() -> None:
    """Entry point of the ``tunesmith`` program."""
    sys.exit(terminal.run(app, sys.argv[1:]))
