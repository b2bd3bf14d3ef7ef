"""`tunesmith strategies` and `tunesmith models`: what is known by name."""

from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from tunesmith import terminal
from tunesmith.cli.options import Json


def strategies(json: Json = False) -> None:
    """List the strategies known by name.

    What each lets move, what holds it, and when to use it.

    Example: tunesmith template tune --set strategy=lora
    """
    from tunesmith.config.strategies import STRATEGIES

    def show(screen: Console) -> None:
        names = ("name", "what moves", "what holds it", "sampler", "rate", "when to use it")
        table = Table(*(Column(n, no_wrap=n in ("name", "rate")) for n in names), box=SIMPLE_HEAD)
        for name, s in STRATEGIES.items():
            kind, rate = s.sampler["kind"], f"{s.sampler['learning_rate']:g}"
            table.add_row(name, s.moves, s.held, kind, rate, s.when)
        screen.print(table)

    after = "tunesmith tune --train FILE --strategy NAME --out FOLDER"
    terminal.give([{"name": n, **asdict(s)} for n, s in STRATEGIES.items()], json, show, after)


def models(json: Json = False) -> None:
    """List the models known by name.

    And whether each is here or how to get it.
    """
    from tunesmith.potentials import zoo

    refused: list[str] = []
    entries = zoo.known(refused)
    for sentence in refused:
        terminal.notes().print(sentence, markup=False)

    def show(screen: Console) -> None:
        # those that are here first, the others by what would bring them
        for how in sorted({e.how_to_get for e in entries}):
            title = f"Not here; to have them: {how}" if how else "Here"
            columns = [Column(n, overflow="fold") for n in ("made for", "licence")]
            table = Table(Column("name", no_wrap=True), *columns, box=SIMPLE_HEAD)
            for e in entries:
                if e.how_to_get == how:
                    table.add_row("\n".join(e.names), f"{e.domain}; {e.elements}", e.licence)
            # as it is written: brackets are no markup
            screen.print(Text(title), table)

    after = "tunesmith tune --model NAME --train FILE --out FOLDER"
    terminal.give([asdict(e) for e in entries], json, show, after)
