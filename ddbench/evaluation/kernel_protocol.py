"""How a kernel predicts from an artefact: protocols under which no network is trained, as frozen as the others."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ddbench.errors import UserError
from ddbench.registry import PROTOCOLS

if TYPE_CHECKING:
    from ddbench.evaluation.protocols import AnyProtocol
    from ddbench.families.kernels.named import KernelName


@dataclass(frozen=True)
class KernelProtocol:
    """Kernel ridge regression on the artefact's images, with the tangent kernel of an infinitely wide network.

    Images that have a class are answered with centred one-hot targets, others with the labels that are stored. Of a
    decoder that draws images anew in every epoch, those of the first are taken.

    Args:
        name: with its version, `krr-fc@1`
        source: where the settings come from
        kernel: `fc`, of a network with one hidden layer; `convnet`, of three blocks of convolution, ReLU and pooling
            after a convolution and a ReLU; `convnet3`, of the blocks alone; `unpooled`, of them without pooling
        regulariser: ridge, as a share of the mean eigenvalue of the kernel on the artefact's images
        networks: 1, since an exact kernel predicts the same from every seed
        kind: `krr`, for kernel ridge regression
    """

    honours: ClassVar[tuple[()]] = ()
    """a recipe is for training, and nothing of it is used"""

    name: str
    source: str
    kernel: KernelName
    regulariser: float = 1e-6
    networks: int = 1
    kind: Literal["krr"] = "krr"

    def describe(self) -> dict[str, Any]:
        """As plain values, for records."""
        return asdict(self)


def check_regression(protocol: AnyProtocol, networks: int, pool: bool) -> None:
    """Refuse several networks, or networks of a pool, where a protocol trains none.

    Args:
        networks: how many are asked for
        pool: true if they are to start from those of a pool

    Raises:
        UserError: with the fix.
    """
    if protocol.kind != "krr":
        return
    if networks > protocol.networks:
        raise UserError(
            f"{protocol.name} predicts the same from every seed, and {networks} networks are asked for; ask for 1"
        )
    if pool:
        raise UserError(f"{protocol.name} trains no network, and the cell's start from a pool; choose another protocol")


SHIPPED = (
    KernelProtocol(
        "krr-fc@1",
        "Nguyen, Chen & Lee, ICLR 2021 (arXiv 2011.00050): the kernel of one hidden layer",
        "fc",
    ),
    KernelProtocol(
        "krr-convnet@1",
        "Nguyen, Novak, Xiao & Lee, NeurIPS 2021 (arXiv 2107.13034), the ConvNet of the authors' code, which whitens "
        "images as preprocessing regularized_zca does",
        "convnet",
    ),
    KernelProtocol(
        "krr-convnet3@1",
        "ours: krr-convnet@1 without its first convolution, as networks of other papers are",
        "convnet3",
    ),
    KernelProtocol(
        "krr-unpooled@1",
        "ours: krr-convnet3@1 without pooling, which costs as many times less as an image has pixels",
        "unpooled",
    ),
)
for _protocol in SHIPPED:
    PROTOCOLS.register(_protocol.name, module=__name__)(_protocol)
