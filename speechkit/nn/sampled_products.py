"""Products of vectors with a few rows of a table each, without a copy of these rows."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def sampled_products(x: Tensor, table: Tensor, places: Tensor) -> Tensor:
    """The inner products of each vector with its own choice of rows.

    Gathering the rows would take J times the memory of `x`, all products of vectors and rows V / J times the work.
    torch's `embedding_bag` adds weighted rows of a table where they lie; its derivative by the weights is this product.

    Args:
        x: `(F, C)`.
        table: `(V, C)`.
        places: `(F, J)` int64, numbers of rows.

    Returns:
        `(F, J)`, `(x[:, None] * table[places]).sum(-1)`.
    """
    found: Tensor = _SampledProducts.apply(x, table, places)  # type: ignore[no-untyped-call]
    return found


def _recordable(x: Tensor) -> Tensor:
    """Tensors of inference mode cannot take part in a derivative; copies can."""
    return x.clone() if x.is_inference() else x


class _SampledProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(x, table, places)
        with torch.inference_mode(False), torch.enable_grad():
            weights = torch.zeros(places.shape, dtype=x.dtype, device=x.device, requires_grad=True)
            rows = _recordable(table.detach())
            bags = F.embedding_bag(_recordable(places), rows, per_sample_weights=weights, mode="sum")
            return torch.autograd.grad(bags, weights, x.detach())[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, table, places = ctx.saved_tensors
        with torch.enable_grad():
            rows = table.detach().requires_grad_(ctx.needs_input_grad[1])
            bags = F.embedding_bag(places, rows, per_sample_weights=gradients[0].contiguous(), mode="sum")
        rows_gradient = torch.autograd.grad(bags, rows, x)[0] if ctx.needs_input_grad[1] else None
        return bags.detach(), rows_gradient, None
