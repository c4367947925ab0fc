"""Running a module with other parameters than its own.

Differs: torch.func.functional_call with tied weights restores a module that is used under two names wrongly (its
parameter is left a plain tensor). Here tied names are written out, one per module object, and tying is off.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.func import functional_call


class Functional:
    """A module as a function of named parameters and inputs.

    Attributes:
        module: its frozen parameters and buffers are used as they are.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        first: dict[int, str] = {}
        self._tied: list[tuple[str, str]] = []
        for path, layer in module.named_modules():
            for own, value in layer._parameters.items():
                if value is not None:
                    name = f"{path}.{own}" if path else own
                    if id(value) in first:
                        self._tied.append((name, first[id(value)]))
                    else:
                        first[id(value)] = name

    def __call__(self, values: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Outputs for inputs (b, *shape); `values` replace parameters and buffers of these names."""
        given = dict(values)
        given.update((name, given[source]) for name, source in self._tied if source in given)
        outputs: Tensor = functional_call(self.module, given, (inputs,), tie_weights=False)
        return outputs
