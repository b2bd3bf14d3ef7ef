"""Named weights as one flat vector, the form every sampler works in."""

import torch

from tunesmith.core import Tensor, Weights


class Vector:
    """Named weights as views into one flat vector, and back."""

    def __init__(self, weights: Weights) -> None:
        self.shapes = {name: w.shape for name, w in weights.items()}
        self.flat = torch.cat([w.reshape(-1) for w in weights.values()])

    def split(self, flat: Tensor) -> Weights:
        """Named views of a flat vector (d,), or of several (n, d), which name → (n, …)."""
        parts = flat.split([s.numel() for s in self.shapes.values()], dim=-1)
        lead = flat.shape[:-1]
        return {
            n: p.reshape(*lead, *s) for (n, s), p in zip(self.shapes.items(), parts, strict=True)
        }
