"""Findings, and what is said of them all together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunesmith.doctor.codes import CODES, UNLEARNABLE, Severity
from tunesmith.errors import ConfigError
from tunesmith.registry import nearest


@dataclass(frozen=True)
class Finding:
    """One thing found. frames: origins (``train.xyz#12``) of all frames concerned."""

    code: str
    severity: Severity
    message: str
    cure: str
    frames: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """All findings, the worst first, and facts: what was looked at and what could not be judged."""

    findings: tuple[Finding, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What forbids training."""
        return tuple(f for f in self.findings if f.severity == "error")

    @property
    def codes(self) -> set[str]:
        return {f.code for f in self.findings}

    def without(self, accepted: Iterable[str]) -> "Diagnosis":
        """Without the findings the user accepts by code. Raises `ConfigError` for unknown codes."""
        dropped = set(accepted)
        require_codes(dropped)
        kept = tuple(f for f in self.findings if f.code not in dropped)
        return Diagnosis(kept, {**self.facts, "accepted": sorted(dropped & self.codes)})

    def summary(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "fit_for_training": not self.errors,
            "findings": [
                {
                    "code": f.code,
                    "severity": f.severity,
                    "message": f.message,
                    "cure": f.cure,
                    "frames": list(f.frames),
                }
                for f in self.findings
            ],
            "facts": self.facts,
        }


def require_codes(codes: Iterable[str]) -> None:
    """Raise `ConfigError` for a code that is none, or that nobody can accept."""
    for code in codes:
        if code not in CODES:
            raise ConfigError(f"accept: there is no finding {code!r}; {nearest(code, list(CODES))}")
        if code in UNLEARNABLE:
            raise ConfigError(
                f"accept: {code} ({CODES[code].meaning}) cannot be accepted, since nothing can be "
                f"learnt from such frames; {CODES[code].cure}."
            )


def refusal(diagnosis: Diagnosis) -> str:
    """One sentence for whoever must not go on: the first error, its cure, and how to accept it."""
    first, *rest = diagnosis.errors
    more = f" and {len(first.frames) - 3} more" if len(first.frames) > 3 else ""
    where = f" ({', '.join(first.frames[:3])}{more})" if first.frames else ""
    others = dict.fromkeys(f.code for f in rest if f.code != first.code)
    also = f"; also found: {', '.join(others)}" if others else ""
    accept = f", or, if it is right as it is, accept it with data.accept=[{first.code}]"
    accept = "" if first.code in UNLEARNABLE else accept
    return (
        f"{first.message}{where}: {first.cure}{accept}{also}; `tunesmith doctor` shows everything."
    )


def finding(
    code: str, message: str, frames: Sequence[str] = (), severity: Severity | None = None
) -> Finding:
    """A finding with the severity (unless another is given) and the cure of its code."""
    known = CODES[code]
    return Finding(code, severity or known.severity, message, known.cure, tuple(frames))


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The worst first, else as found."""
    rank = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(findings, key=lambda f: rank[f.severity]))
