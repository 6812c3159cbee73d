"""AstrocyticKernel: the O(N m) product against the dense one, outputs and gradients."""

import numpy as np
import pytest
import torch

from rmaat_bridge import AstrocyticKernel
from rmaat_bridge.kernel_families import KERNEL_FAMILIES

FAMILIES = list(KERNEL_FAMILIES)


def test_exponential_kernel_is_its_definition(make):
    """r_ij = e^(-|i-j| / (length * tokens_per_step)), written out with NumPy; 1e-12."""
    kernel = AstrocyticKernel(make.attention("exponential", length=2.5, tokens_per_step=3.0)).double()
    i = np.arange(20)
    expected = np.exp(-np.abs(i[:, None] - i) / 7.5)
    np.testing.assert_allclose(kernel(20).detach().numpy(), expected, rtol=1e-12)
    assert float(kernel.scale.detach()) == pytest.approx(1 / 7.5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("length", [0.3, 3.0, 60.0])
@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 501])
def test_fast_product_equals_the_dense_one(make, family, length, n):
    """Largest difference relative to the largest entry <= 1e-10 in float64, odd sizes and chunk borders included."""
    kernel = AstrocyticKernel(make.attention(family, length=length)).double()
    torch.manual_seed(n)
    matrix = torch.randn(n, 5, dtype=torch.float64)
    dense, fast = kernel(n) @ matrix, kernel @ matrix
    assert float(((fast - dense).abs().max() / dense.abs().max()).detach()) <= 1e-10


@pytest.mark.parametrize("exponent", [0.2, 1.0, 5.0, 60.0])
def test_sum_of_exponentials_holds_for_any_exponent(make, exponent):
    """Power law by its integral: 1e-10 of the dense product in float64 for flat and for steep laws."""
    kernel = AstrocyticKernel(make.attention("power-law", "fixed", exponent=exponent)).double()
    matrix = torch.randn(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    dense = kernel(200) @ matrix
    assert float((kernel @ matrix - dense).abs().max() / dense.abs().max()) <= 1e-10


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_equal_those_of_the_dense_product(make, family):
    """Relative RMS difference <= 1e-9, by tensor, for the matrix and for every constant of the kernel."""
    kernel = AstrocyticKernel(make.attention(family)).double()
    torch.manual_seed(0)
    matrix = torch.randn(131, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(131, 4, dtype=torch.float64)
    tensors = [matrix, *kernel.parameters()]
    dense = torch.autograd.grad((kernel(131) @ matrix * weight).sum(), tensors)
    fast = torch.autograd.grad((kernel @ matrix * weight).sum(), tensors)
    for name, a, b in zip(["matrix", *dict(kernel.named_parameters())], dense, fast, strict=True):
        assert float((a - b).norm() / a.norm()) <= 1e-9, name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", ["bounded", "free"])
def test_first_and_second_derivatives(make, family, mode):
    """gradcheck and gradgradcheck in float64 of matrix and product, through the module's own coordinates."""
    fit = make.attention(family, mode)
    kernel = AstrocyticKernel(fit).double()
    names, start = zip(*kernel.named_parameters(), strict=True)
    torch.manual_seed(1)
    matrix = torch.randn(9, 2, dtype=torch.float64, requires_grad=True)
    inputs = [matrix, *[(p.detach() + 0.1).requires_grad_() for p in start]]

    def outputs(matrix, *coordinates):
        values = dict(zip((f"kernel.{n}" for n in names), coordinates, strict=True))
        return torch.func.functional_call(_Both(kernel), values, (matrix,))

    assert torch.autograd.gradcheck(outputs, inputs)
    assert torch.autograd.gradgradcheck(outputs, inputs)


class _Both(torch.nn.Module):
    """Dense matrix and fast product side by side."""

    def __init__(self, kernel):
        super().__init__()
        self.kernel = kernel

    def forward(self, matrix):
        return torch.cat([self.kernel(len(matrix)).flatten(), (self.kernel @ matrix).flatten()])


def test_float32_product_is_accurate(make):
    """Float32 against float64 dense at N = 4096: relative RMS <= 1e-5, some hundred roundings."""
    fit = make.attention("exponential", "fixed", length=40.0)
    matrix = torch.randn(4096, 3, generator=torch.Generator().manual_seed(2))
    fast = AstrocyticKernel(fit) @ matrix
    dense = AstrocyticKernel(fit).double()(4096) @ matrix.double()
    assert float((fast - dense).norm() / dense.norm()) <= 1e-5


def test_memory_is_linear_in_length(make):
    """Largest intermediate of the product at N = 2^18: at most 64 N m numbers, where r itself would have 2^36."""
    kernel = AstrocyticKernel(make.attention("exponential", "fixed", length=10.0))
    matrix = torch.randn(2**18, 2)
    largest = 0

    def watch(tensor):
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    class Sizes(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            return watch(result) if isinstance(result, torch.Tensor) else result

    with Sizes():
        result = kernel @ matrix
    assert result.shape == matrix.shape
    assert largest <= 64 * matrix.numel()


def test_module_apply_is_torchs_own(make):
    """It visits modules, as initialisers use it; the product is ``kernel @ matrix`` alone."""
    kernel = AstrocyticKernel(make.attention("exponential"))
    seen = []
    torch.nn.Sequential(kernel).apply(lambda module: seen.append(type(module).__name__))
    assert seen.count("AstrocyticKernel") == 1
    assert AstrocyticKernel.apply is torch.nn.Module.apply
