"""Where the error bars of a posterior come from: the settings of ``tune.spread``."""

from typing import TYPE_CHECKING, ClassVar

from tunesmith.contracts import Spread
from tunesmith.core import Frame, Members, Tensor

if TYPE_CHECKING:  # torch takes a second, and settings are read without
    from tunesmith.posterior.tangent import Tangents
    from tunesmith.potentials.potential import Potential


class OfMembers(Spread):
    """What members differ by, and the noise that they predict."""

    kind: ClassVar[str] = "members"
    fewest: ClassVar[int] = 2
    out_of_bag: ClassVar[bool] = True


class ByTangentKernel(Spread):
    """A Gaussian process with the tangent kernel of the network, of energies alone."""

    kind: ClassVar[str] = "ntk"
    of_forces: ClassVar[bool] = False
    needs_energies: ClassVar[bool] = True

    def fitted(self, potential: "Potential", members: Members, frames: list[Frame]) -> "Tangents":
        from tunesmith.posterior.tangent import tangents

        return tangents(self, potential, members, frames)

    def opened(self, tensors: dict[str, Tensor]) -> "Tangents":
        from tunesmith.posterior.tangent import Tangents

        return Tangents(self, tensors["features"].numpy(), tensors["wrong"].numpy())
