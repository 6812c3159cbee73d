"""Every baseline against an implementation that is not ours."""

import numpy as np
import pytest
import torch
from scipy import signal
from scipy.linalg import block_diag
from torch import nn

from astro_sim.errors import InputError
from rmaat import AstromorphicAttention, RMAATForSequenceClassification, RMAATModel, baseline_config
from rmaat.baselines import BASELINES
from rmaat.baselines.diagonal_ssm import DiagonalSSM

SMALL = {"vocab_size": 16, "num_labels": 4, "dim": 16, "segment_length": 8, "memory_tokens": 3}
INPUTS = torch.randint(1, 16, (3, 29), generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([29, 8, 17])


def model(name: str) -> RMAATModel:
    torch.manual_seed(0)
    return RMAATModel(baseline_config(name, 29, **SMALL)).double()


def torch_layer(block: nn.Module) -> nn.TransformerEncoderLayer:
    """PyTorch's own post-norm encoder layer with the weights of one of our softmax blocks."""
    layer = nn.TransformerEncoderLayer(16, 4, 64, dropout=0.0, batch_first=True).double()
    layer.load_state_dict(
        {
            "self_attn.in_proj_weight": block.attention.qkv.weight,
            "self_attn.in_proj_bias": block.attention.qkv.bias,
            "self_attn.out_proj.weight": torch.eye(16),
            "self_attn.out_proj.bias": torch.zeros(16),
            "linear1.weight": block.ffn_in.weight,
            "linear1.bias": block.ffn_in.bias,
            "linear2.weight": block.ffn_out.weight,
            "linear2.bias": block.ffn_out.bias,
            "norm1.weight": block.attention_norm.weight,
            "norm1.bias": block.attention_norm.bias,
            "norm2.weight": block.ffn_norm.weight,
            "norm2.bias": block.ffn_norm.bias,
        }
    )
    return layer


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["linear", "rlt", "transformer", "rmt", "ssm"])
def test_no_plain_baseline_learns_an_exponent(name: str) -> None:
    """Linear attention has alpha = 1 for good: no trained number differs with `learn_alpha`."""
    plain, told = (RMAATModel(baseline_config(name, 29, **SMALL, **more)) for more in ({}, {"learn_alpha": True}))
    assert [n for n, _ in plain.named_parameters()] == [n for n, _ in told.named_parameters()]


def test_what_a_baseline_is_called_after_wins_over_the_recipe() -> None:
    assert baseline_config("rmt-amrb", 29, backprop="bptt").backprop == "amrb"
    assert baseline_config("rmt", 29, backprop="amrb").backprop == "bptt"


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_trains_and_ignores_padding(name: str) -> None:
    torch.manual_seed(0)
    classifier = RMAATForSequenceClassification(baseline_config(name, 29, **SMALL)).double()
    result = classifier(INPUTS, LENGTHS, torch.tensor([0, 1, 2]))
    result.loss.backward()
    gradients = [p.grad for p in classifier.parameters() if p.numel()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    noise = torch.where(torch.arange(29) < LENGTHS[:, None], INPUTS, 7)
    close(classifier(noise, LENGTHS).logits, result.logits)


def test_transformer_is_torchs_encoder() -> None:
    ours = model("transformer")
    x = ours.embed(INPUTS)
    padding = torch.arange(29) >= LENGTHS[:, None]
    for block in ours.blocks:
        x = torch_layer(block)(x, src_key_padding_mask=padding)
    close(ours(INPUTS, LENGTHS).outputs[0][~padding], x[~padding])


def test_causal_transformer_is_torchs_encoder_with_a_mask() -> None:
    torch.manual_seed(0)
    ours = RMAATModel(baseline_config("transformer", 29, **SMALL, causal=True)).double()
    x, later = ours.embed(INPUTS), torch.ones(29, 29, dtype=torch.bool).triu(1)
    for block in ours.blocks:
        x = torch_layer(block)(x, src_mask=later)
    close(ours(INPUTS).outputs[0], x)


@pytest.mark.parametrize("name", ["rmt", "rmt-amrb"])
def test_recurrent_memory_transformer_is_torchs_encoder_in_a_loop(name: str) -> None:
    ours = model(name)
    memory = ours.memory.initial.expand(3, -1, -1)
    for piece in INPUTS.split(8, dim=1):
        x = torch.cat([memory + ours.memory.identity, ours.embed(piece)], dim=1)
        for block in ours.blocks:
            x = torch_layer(block)(x)
        memory = x[:, :3]
    close(ours(INPUTS).memory, memory)


def linear_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Katharopoulos et al. 2020, eq. 5: phi(q) (sum phi(k) v^T) / (phi(q) sum phi(k)), (b, n, heads, d)."""
    q, k = torch.where(q > 0, q + 1, q.exp()), torch.where(k > 0, k + 1, k.exp())
    outer = torch.einsum("bshd,bshe->bhde", k, v)
    return torch.einsum("bthd,bhde->bthe", q, outer) / torch.einsum("bthd,bshd->bth", q, k)[..., None]


def linear_layer(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
    q, k, v = (part.unflatten(-1, (4, 4)) for part in block.attention.qkv(x).chunk(3, -1))
    y = block.attention_norm(x + linear_attention(q, k, v).flatten(2))
    return block.ffn_norm(y + block.ffn_out(block.ffn_in(y).relu()))


def test_linear_transformer() -> None:
    ours = model("linear")
    x = ours.embed(INPUTS)
    for block in ours.blocks:
        x = linear_layer(block, x)
    close(ours(INPUTS).outputs[0], x)


def test_recurrent_linear_transformer() -> None:
    ours = model("rlt")
    memory = ours.memory.initial.expand(3, -1, -1)
    for piece in INPUTS.split(8, dim=1):
        x = torch.cat([memory + ours.memory.identity, ours.embed(piece)], dim=1)
        for block in ours.blocks:
            x = linear_layer(block, x)
        memory = x[:, :3]
    close(ours(INPUTS).memory, memory)


def test_linear_attention_against_performers_own() -> None:
    performer = pytest.importorskip("performer_pytorch.performer_pytorch", reason="performer-pytorch is not here")
    q, k, v = torch.randn(3, 2, 50, 4, 8, dtype=torch.float64).unbind(0)
    mapped = (torch.nn.functional.elu(t).add(1).transpose(1, 2) for t in (q, k))
    theirs = performer.linear_attention(*mapped, v.transpose(1, 2))
    close(linear_attention(q, k, v).transpose(1, 2), theirs)


def test_causal_linear_attention_against_performers_own() -> None:
    performer = pytest.importorskip("performer_pytorch.performer_pytorch", reason="performer-pytorch is not here")
    torch.manual_seed(0)
    layer = AstromorphicAttention(32, 4, alpha=1.0, places=150, causal=True).double()
    x = torch.randn(3, 150, 32, dtype=torch.float64)
    q, k, v = (part.unflatten(-1, (4, 8)).transpose(1, 2) for part in layer.qkv(x).chunk(3, -1))
    mapped = (torch.nn.functional.elu(t).add(1) for t in (q, k))
    theirs = performer.causal_linear_attention_noncuda(*mapped, v, chunk_size=64, eps=0.0)
    close(layer(x), x + theirs.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("causal", [True, False])
def test_state_space_layer_is_scipys_linear_filter(causal: bool) -> None:
    """Every complex mode as a first-order filter of scipy.signal, both directions."""
    torch.manual_seed(0)
    layer = DiagonalSSM(3, states=4, causal=causal).double()
    x = torch.randn(2, 40, 3, dtype=torch.float64)
    turn, gain = (part.detach().numpy() for part in layer.discrete())
    expected = (x * (1 + layer.skip.detach())).numpy()
    for direction in range(1 if causal else 2):
        u = x.numpy()[:, ::-1] if direction else x.numpy()
        for channel in range(3):
            for a, c in zip(turn[direction, channel], gain[direction, channel], strict=True):
                y = 2 * signal.lfilter([c], [1, -a], u[:, :, channel]).real
                expected[:, :, channel] += y[:, ::-1] if direction else y
    torch.testing.assert_close(layer(x).detach(), torch.from_numpy(expected), rtol=0, atol=1e-10)


def test_state_space_layer_is_scipys_continuous_system_under_held_inputs() -> None:
    """h' = A h + x, y = 2 Re(C h) + D x in real form, integrated by scipy.signal.lsim with x held for dt."""
    torch.manual_seed(0)
    layer = DiagonalSSM(2, states=3, causal=True).double()
    x = torch.randn(1, 40, 2, dtype=torch.float64)
    read = layer(x).detach() - x * (1 + layer.skip.detach())
    for channel in range(2):
        decay, turn = layer.log_decay.exp()[0, channel], layer.frequency[0, channel]
        a = block_diag(*([[-d, -w], [w, -d]] for d, w in zip(decay.tolist(), turn.tolist(), strict=True)))
        c = (2 * layer.output[0, channel] * torch.tensor([1, -1])).detach().reshape(1, -1).numpy()
        b = np.tile([[1.0], [0.0]], (3, 1))
        u = np.append(x[0, :, channel].numpy(), 0.0)  # lsim's output stands before the step of its input
        times = layer.log_dt[0, channel].exp().item() * np.arange(41)
        _, y, _ = signal.lsim((a, b, c, 0.0), u, times, interp=False)
        np.testing.assert_allclose(read[0, :, channel].numpy(), y[1:], rtol=0, atol=1e-10)


def test_unknown_baseline() -> None:
    with pytest.raises(InputError, match="transformer"):
        baseline_config("lstm", 100)
