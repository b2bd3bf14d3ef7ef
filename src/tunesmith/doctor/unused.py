"""Labels that a file has and nobody reads."""

from tunesmith.data.keys import KeysUsed
from tunesmith.doctor.findings import Finding, finding


def judge_unused(file: str, keys: KeysUsed) -> list[Finding]:
    """A stress under another name than that of the other labels: it is passed over, and may be the
    reference's own or a model's. Energies and forces that are not found are found missing."""
    stress = [key for key in keys.ignored if "stress" in key.lower() and " " not in key]
    if keys.stress is not None or not stress:
        return []
    others = ", ".join(k for k in (keys.energy, keys.forces) if k) or "nothing else"
    text = f"{file}: {stress[0]} stands beside {others} and is not used"
    return [finding("stress-unused", text)]
