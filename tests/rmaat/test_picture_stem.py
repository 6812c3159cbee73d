"""The gated convolution over a picture."""

import pytest
import torch

from astro_sim.errors import InputError
from rmaat import RMAATConfig, RMAATForMaskedLM, RMAATForSequenceClassification
from rmaat.picture_stem import PictureStem

PICTURE = {"picture_width": 6, "stem_stride": 4, "stem_layers": 3, "segment_length": 24}  # two rows of three places
SMALL = {"vocab_size": 16, "num_labels": 3, "dim": 8, "heads": 2, "memory_tokens": 2} | PICTURE
LENGTHS = torch.tensor([48, 24, 37])


def model(**changes: object) -> RMAATForSequenceClassification:
    torch.manual_seed(0)
    return RMAATForSequenceClassification(RMAATConfig(**SMALL | changes)).double()


def test_stem_is_its_equation() -> None:
    """Sums written out place by place, on a picture of 4 x 6 pixels."""
    torch.manual_seed(1)
    dim, rows, columns = 5, 2, 3
    stem = PictureStem(dim, iterations=2, kernel=3, width=6, side=2).double()
    for norm in (*stem.norms, stem.last):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    x = torch.randn(4, 6, dim, dtype=torch.float64)
    start = torch.zeros(rows, columns, dim, dtype=torch.float64)
    for r in range(rows):
        for c in range(columns):
            start[r, c] = stem.merge.bias
            for i in range(-1, 3):
                for j in range(-1, 3):
                    if 0 <= 2 * r + i < 4 and 0 <= 2 * c + j < 6:
                        start[r, c] += stem.merge.weight[:, :, i + 1, j + 1] @ x[2 * r + i, 2 * c + j]
    y = start
    for norm in stem.norms:
        after, summed = torch.zeros_like(y), torch.zeros_like(y)
        for r in range(rows):
            for c in range(columns):
                seen = stem.convolution.bias
                for i in (-1, 0, 1):
                    for j in (-1, 0, 1):
                        if 0 <= r + i < rows and 0 <= c + j < columns:
                            seen = seen + stem.convolution.weight[:, :, i + 1, j + 1] @ y[r + i, c + j]
                summed[r, c] = seen
        scaled = (summed - summed.mean((0, 1))) / (summed.var((0, 1), correction=0) + 1e-3).sqrt()
        for r in range(rows):
            for c in range(columns):
                candidate = (scaled[r, c] * norm.weight + norm.bias + start[r, c]).clamp_min(0)
                gate = 1 / (1 + torch.exp(-stem.gate(torch.cat([y[r, c], candidate]))))
                after[r, c] = (1 - gate) * y[r, c] + gate * candidate
        y = after
    found = stem(x.flatten(0, 1)[None])
    torch.testing.assert_close(found[0], stem.last(y).flatten(0, 1), rtol=0, atol=1e-12)


def test_places_are_the_squares_that_hold_a_pixel() -> None:
    """37 pixels: six whole rows of 6 and one pixel of a seventh."""
    stem = PictureStem(4, iterations=1, kernel=3, width=6, side=2)
    mask = torch.arange(48) < LENGTHS[:, None]
    expected = torch.zeros(3, 4, 3, dtype=torch.bool)
    expected[0], expected[1, :2], expected[2, :3], expected[2, 3, 0] = True, True, True, True
    assert torch.equal(stem.places(mask), expected.flatten(1))
    for n in range(1, 49):  # what is cut off holds no pixel
        assert (
            stem.places(mask[:1, :n]).all() and stem(torch.randn(1, n, 4)).shape[1] == stem.places(mask[:1, :n]).sum()
        )


def test_amrb_streaming_and_padding_agree_with_whole_reading() -> None:
    """Random pictures of several sizes: gradients of AMRB and BPTT, logits padded and alone, whole and streamed."""
    inputs, labels = torch.randint(1, 16, (3, 48)), torch.tensor([0, 2, 1])
    grads, logits = {}, {}
    for backprop in ("amrb", "bptt"):
        one = model(backprop=backprop)
        out = one(inputs, LENGTHS, labels)
        out.loss.backward()
        logits[backprop] = out.logits.detach()
        grads[backprop] = torch.cat([p.grad.flatten() for p in one.parameters() if p.grad is not None])
    torch.testing.assert_close(grads["amrb"], grads["bptt"], rtol=1e-10, atol=1e-12)
    one = model().eval()
    for row, (sequence, length) in enumerate(zip(inputs, LENGTHS, strict=True)):
        alone = one(sequence[None, :length]).logits[0]
        torch.testing.assert_close(alone, logits["amrb"][row], rtol=0, atol=1e-12)
    stream = model(streaming=True).eval().stream(3)
    whole = model(streaming=True).eval()(inputs).logits
    for piece in inputs.split(24, dim=1):
        last = stream.feed(piece)
    torch.testing.assert_close(last, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"stem_stride": 2}, "stem_stride"),
        ({"stem_stride": 16}, "stem_stride"),
        ({"segment_length": 18}, "segment_length"),
        ({"stem_layers": 0}, "stem_layers"),
        ({"stem_layers": 13, "picture_width": None}, "stem_layers"),
        ({"causal": True, "stem_stride": 1}, "picture_width"),
    ],
)
def test_impossible_pictures_are_refused(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InputError, match=field):
        RMAATConfig(**SMALL | changes)


def test_masked_modelling_refuses_pictures() -> None:
    with pytest.raises(InputError, match="picture_width"):
        RMAATForMaskedLM(RMAATConfig(**SMALL))
