"""Exact properties of astromorphic attention, and the fast forms against the quadratic definition."""

import pytest
import torch
from attention_naive import dense_attention
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_sim.errors import InputError
from rmaat import AstromorphicAttention
from rmaat.attention import SplitHeads, feature_map
from rmaat_bridge import AstrocyticKernel, BioParameters, PresynapticResponse

BIO = BioParameters.reference()
EXACT = {"rtol": 0, "atol": 1e-12}  # float64 sums of about 1e3 terms of size 1


def attention(**changes: object) -> AstromorphicAttention:
    """Float64 attention of 3 heads of 4 over 21 places with all its parts."""
    options = {"alpha": 0.25, "places": 21, "kernel": AstrocyticKernel(BIO.attention)} | changes
    return AstromorphicAttention(12, 3, **options).double()


def inputs(n: int = 21, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, n, 12, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


PARTS = {
    "all": {},
    "without-astrocyte": {"kernel": None},
    "without-P": {"alpha": None},
    "fitted-g": {"alpha": PresynapticResponse(BIO.presynaptic)},
    "learned-alpha": {"learn_alpha": True},
    "silent-start": {"silent": True},
    "few-write-places": {"write_places": 16},
}
FORMS = [
    pytest.param(parts, causal, id=name + "-causal" * causal)
    for name, parts in PARTS.items()
    for causal in (False, True)
]


@pytest.mark.parametrize("masked", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("n", [1, 7, 150], ids="n{}".format)
@pytest.mark.parametrize(("parts", "causal"), FORMS)
def test_fast_form_equals_dense_form_in_outputs_and_gradients(parts: dict, n: int, masked: bool, causal: bool) -> None:
    fast = attention(places=150, causal=causal, **parts)
    x = inputs(n).requires_grad_()
    mask = torch.arange(n) < torch.tensor([[n], [(n + 1) // 2]]) if masked else None
    leaves = [x, *(p for p in fast.parameters() if p.requires_grad)]
    weights = torch.randn(2, n, 12, dtype=torch.float64)
    if mask is not None:
        weights = weights * mask[..., None]
    results = []
    for form in (fast(x, mask=mask), dense_attention(fast, x, mask)):
        results.append((form * weights.ne(0), torch.autograd.grad((form * weights).sum(), leaves)))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-11, atol=1e-12)
    for one, other in zip(results[0][1], results[1][1], strict=True):
        scale = other.abs().max()
        assert scale > 0
        assert (one - other).abs().max() <= 1e-10 * scale


def test_causal_form_in_float32_equals_the_masked_dense_form() -> None:
    fast = attention(places=512, causal=True).float()
    x = inputs(512).float()
    torch.testing.assert_close(fast(x), dense_attention(fast, x), rtol=1e-5, atol=1e-5)


def test_alpha_1_without_astrocyte_is_linear_attention() -> None:
    """sum_s phi(q_t).phi(k_s) v_s / sum_s phi(q_t).phi(k_s), written out."""
    layer = attention(alpha=1.0, kernel=None)
    x = inputs()
    q, k, v = (part.unflatten(-1, (3, 4)).transpose(1, 2) for part in layer.qkv(x).chunk(3, -1))
    scores = (torch.nn.functional.elu(q) + 1) @ (torch.nn.functional.elu(k) + 1).mT
    expected = x + (scores / scores.sum(-1, keepdim=True) @ v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(layer(x), expected, **EXACT)


@pytest.mark.parametrize(("head_dim", "places"), [(4, 100), (16, 72), (16, 2056), (64, 136)])
def test_a_silent_astrocyte_starts_at_a_twentieth_of_the_keys(head_dim: int, places: int) -> None:
    """R is -3 on average, whatever the sizes: phi(R) is about e^-3, where both signs of M give about phi(0) = 1."""
    kernel = AstrocyticKernel(BIO.attention)
    for silent, low, high in ((True, 0.03, 0.1), (False, 0.9, 1.6)):
        layer = AstromorphicAttention(3 * head_dim, 3, places=places, kernel=kernel, silent=silent)
        assert low < layer.astrocytic_table().mean().item() < high
        assert layer.writers == 2 - silent  # what is next to nothing does not halve the read


def test_a_whole_number_is_an_exponent_too() -> None:
    x, layers = inputs(), []
    for alpha in (1, 1.0):
        torch.manual_seed(0)
        layers.append(attention(alpha=alpha))
    assert torch.equal(layers[0](x), layers[1](x))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"heads": 5}, "heads: got 5, expected a divisor of dim = 12"),
        ({"heads": 0}, "heads: got 0, expected a divisor of dim = 12"),
        ({"alpha": "fitted"}, "alpha: got 'fitted', expected a number above 0, a module or None"),
        ({"alpha": -1}, "alpha: got -1, expected a number above 0, a module or None"),
        ({"alpha": float("nan")}, "alpha: got nan, expected a number above 0, a module or None"),
    ],
)
def test_impossible_arguments_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as refused:
        AstromorphicAttention(**{"dim": 12, "heads": 3, "places": 4} | options)
    assert str(refused.value) == said


def test_token_by_token_accumulation_equals_the_matrix_form() -> None:
    """The state after the last place, fed one place at a time, reads as the bidirectional form does there."""
    bidirectional, causal = attention(), attention(causal=True)
    causal.load_state_dict(bidirectional.state_dict())
    x, state = inputs(), None
    for t in range(21):
        last, state = causal.resume(x[:, t : t + 1], state)
    torch.testing.assert_close(last[:, 0], bidirectional(x)[:, -1], **EXACT)


@pytest.mark.parametrize("piece", [1, 4, 64, 100])
def test_causal_form_in_pieces_equals_the_whole(piece: int) -> None:
    layer = attention(places=150, causal=True)
    x, state, out = inputs(150), None, []
    for part in x.split(piece, dim=1):
        read, state = layer.resume(part, state)
        out.append(read)
    torch.testing.assert_close(torch.cat(out, 1), layer(x), **EXACT)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(21)))
def test_permuting_writers_leaves_the_neuronal_read_unchanged(order: list[int]) -> None:
    """Without R the order of the (k, v) pairs is lost: outputs move with their inputs."""
    layer, x = attention(kernel=None), inputs()
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order], **EXACT)


def test_with_the_astrocyte_the_order_matters() -> None:
    layer, x = attention(), inputs()
    order = torch.arange(21).flip(0)
    assert (layer(x[:, order]) - layer(x)[:, order]).abs().max() > 1e-3


def test_constant_value_row_is_returned() -> None:
    layer, row = attention(alpha=1.0, kernel=None), torch.randn(12, dtype=torch.float64)
    with torch.no_grad():
        layer.qkv.weight[24:] = 0
        layer.qkv.bias[24:] = row
    x = inputs()
    torch.testing.assert_close(layer(x) - x, row.expand_as(x), **EXACT)


@pytest.mark.parametrize("alpha", [0.25, 0.7165, 1.5])
@pytest.mark.parametrize("repeats", [2, 5])
def test_repeating_the_keys_multiplies_the_read_by_r_to_1_minus_alpha(alpha: float, repeats: int) -> None:
    layer, x = attention(alpha=alpha, kernel=None), inputs(4)
    stored = layer.log_alpha[0].exp()  # through float32
    assert abs(stored - alpha) <= 1e-7
    repeated = x.repeat(1, repeats, 1)
    read, more = layer(x) - x, (layer(repeated) - repeated)[:, :4]
    torch.testing.assert_close(more, read * repeats ** (1 - stored), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("alpha", [0.25, 0.7165, 1.5])
@pytest.mark.parametrize("causal", [False, True], ids=["bidirectional", "causal"])
def test_a_smaller_m_multiplies_the_read_by_its_power_of_1_minus_alpha(alpha: float, causal: bool) -> None:
    layers = [attention(alpha=alpha, write_places=m, causal=causal) for m in (0, 7)]
    layers[1].load_state_dict(layers[0].state_dict())
    x = inputs()
    read, more = (layer(x) - x for layer in layers)
    stored = layers[0].log_alpha[0].exp()  # through float32
    torch.testing.assert_close(more, read * 3 ** (1 - stored), rtol=1e-12, atol=1e-14)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.integers(0, 10_000))
def test_no_causal_output_depends_on_later_inputs(t: int, seed: int) -> None:
    layer = attention(places=100, causal=True)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, 100, 12, dtype=torch.float64, generator=generator)
    changed = x.clone()
    changed[:, t:] = torch.randn(1, 100 - t, 12, dtype=torch.float64, generator=generator)
    before, after = layer(x), layer(changed)
    assert torch.equal(before[:, :t], after[:, :t])
    assert (before[:, t:] - after[:, t:]).abs().max() > 1e-3


def test_masked_places_write_nothing() -> None:
    layer, x = attention(), inputs()
    mask = torch.arange(21).expand(2, -1) < 9
    changed = torch.where(mask[..., None], x, torch.randn_like(x))
    torch.testing.assert_close(layer(x, mask=mask)[:, :9], layer(changed, mask=mask)[:, :9], **EXACT)
    torch.testing.assert_close(layer(x, mask=mask)[:, :9], layer(x[:, :9]), **EXACT)


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_agree_with_finite_differences(causal: bool) -> None:
    layer = attention(places=5, learn_alpha=True, causal=causal)
    x = inputs(5, 1).requires_grad_()

    def function(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    names, values = zip(*((n, p.detach().requires_grad_()) for n, p in layer.named_parameters()), strict=True)
    assert torch.autograd.gradcheck(function, (x, *values))


def test_gradient_of_the_split_heads() -> None:
    x = torch.randn(2, 3, 3 * 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: SplitHeads.apply(x, 2), x)
    q, k, v = SplitHeads.apply(x, 2)
    expected = x.unflatten(-1, (3, 2, 4)).transpose(1, 3)  # (batch, heads, 3, n, head_dim)
    for one, other in zip((q, k, v), expected.unbind(2), strict=True):
        torch.testing.assert_close(one, other if one is v else feature_map(other), **EXACT)


@pytest.mark.parametrize("size", [0.0, 1e4], ids=["zeros", "huge"])
@pytest.mark.parametrize("n", [1, 21])
@pytest.mark.parametrize("causal", [False, True])
def test_extreme_inputs_give_finite_outputs_and_gradients(size: float, n: int, causal: bool) -> None:
    layer = attention(causal=causal).float()
    x = (size * torch.randn(2, n, 12)).requires_grad_()
    out = layer(x)
    out.square().mean().backward()
    assert out.isfinite().all()
    assert all(t.grad.isfinite().all() for t in (x, *layer.parameters()))


@pytest.mark.parametrize("causal", [False, True])
def test_bfloat16_autocast_is_within_2_percent_of_float64(causal: bool) -> None:
    layer, x = attention(places=128, causal=causal), inputs(128)
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        half = layer.float()(x.float())
    error = (half.double() - exact).norm() / exact.norm()
    assert error <= 2e-2


def test_no_matrix_of_places_by_places_is_made() -> None:
    """Peak memory of a segment grows with n, not with n^2."""
    from rmaat.peak_memory import PeakMemory

    peaks = []
    for n in (512, 2048):
        for causal in (False, True):
            layer = attention(places=n, causal=causal)
            with PeakMemory() as memory:
                layer(inputs(n)).sum().backward()
            peaks.append(memory.peak)
    assert peaks[2] <= 4.2 * peaks[0]
    assert peaks[3] <= 4.2 * peaks[1]
