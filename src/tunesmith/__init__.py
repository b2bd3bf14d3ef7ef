"""tunesmith: uncertainty-aware fine-tuning of foundation interatomic potentials."""

import importlib
from typing import Any

#: what ``import tunesmith`` offers, and where it lives; imported when first used
_PUBLIC = {
    "Calculator": "tunesmith.posterior.calculator",
    "LabelStore": "tunesmith.data.store",
    "RunConfig": "tunesmith.config",
    "TuneConfig": "tunesmith.config",
    "examine": "tunesmith.doctor.examine",
    "evaluate": "tunesmith.report.evaluate",
    "fine_tune": "tunesmith.commands.fine_tune",
    "open_model": "tunesmith.posterior.ensemble",
    "read_frames": "tunesmith.data.formats",
    "run": "tunesmith.loop.run",
    "write_frames": "tunesmith.data.formats",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'tunesmith' has no attribute {name!r}")
