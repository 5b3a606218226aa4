"""Counting of the floating-point operations that run inside a block."""

from __future__ import annotations

import logging
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack


class FlopCounter(TorchDispatchMode):
    """Adds up matrix products and convolutions, forward and backward, a multiply-add as two operations.

    It cannot look into compiled functions: inside its block they run eager, see `counting`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # Without Triton torch warns that its kernels are not counted: none runs here, see below.
        logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)
        from torch.utils.flop_counter import flop_registry  # brings Triton, which only counting needs

        self.total = 0
        self._counts = flop_registry

    def __enter__(self) -> FlopCounter:
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = self._counts.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


def counting() -> bool:
    """Return whether a counter sees what runs here; PyTorch knows, also in the threads of a GPU's backward pass."""
    return any(isinstance(mode, FlopCounter) for mode in _get_current_dispatch_mode_stack())
