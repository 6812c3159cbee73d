"""The astrocyte of working memory: its published memory window, an independent integration, and diffusion."""

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from astro_sim import DiffusiveAstrocyteParameters, InputError, RingModel, simulate_ring
from astro_sim.presets import RING

ORACLE = tomllib.loads((Path(__file__).parents[1] / "oracles" / "biophysics.toml").read_text())[
    "working_memory_astrocyte"
]


@pytest.mark.parametrize("number", [0, 1])
def test_one_pulse_opens_the_memory_window(number: int) -> None:
    """Peak to its three digits, times to their two decimals, found between rows 10 ms apart (0.011 s)."""
    model = replace(RING["gordleeva-2021"], on_s=ORACLE["pulse"][number])
    recording = simulate_ring(model, duration=6.0, dt=0.01, record_dt=0.01)
    calcium, time = recording.calcium.values[:, 0], recording.time.values
    above = time[calcium > ORACLE["threshold"]]
    assert calcium.max() == pytest.approx(ORACLE["peak_calcium"][number], abs=6e-4)
    assert time[calcium.argmax()] == pytest.approx(ORACLE["peak_time"][number], abs=0.011)
    assert above[[0, -1]] == pytest.approx([ORACLE["above_from"][number], ORACLE["above_until"][number]], abs=0.011)


def test_a_pulse_keeps_its_length_at_any_step() -> None:
    """60 ms of drive in steps of 50 ms: the IP3 that it brings is that of 1 ms steps, to the loss meanwhile (3 %)."""

    def ip3(dt: float) -> float:
        return float(simulate_ring(RING["gordleeva-2021"], duration=0.1, dt=dt, record_dt=0.1).ip3[-1, 0])

    rest = RING["gordleeva-2021"].astrocyte.I_0
    assert ip3(0.05) - rest == pytest.approx(ip3(1e-3) - rest, rel=0.03)
    assert ip3(1e-3) - rest == pytest.approx(5.0 * 0.06, rel=0.05)


def test_a_sheet_against_lsoda() -> None:
    """3 x 4 open cells, the corner driven: coupling is held during a step, so 1 ms leaves some 1e-3 of the peak."""
    p, shape, stop = DiffusiveAstrocyteParameters(), (3, 4), 3.0
    near = np.zeros((12, 12))
    for a in range(12):
        for b in range(12):
            (row, column), (row_b, column_b) = divmod(a, 4), divmod(b, 4)
            near[a, b] = abs(row - row_b) + abs(column - column_b) == 1
    laplace = near - np.diag(near.sum(axis=1))

    def flow(time: float, y: np.ndarray) -> np.ndarray:
        c, h, i = y.reshape(3, 12)
        opened = (i / (i + 0.13) * c / (c + 0.082) * h) ** 3
        q = 1.049 * (i + 0.13) / (i + 0.9434)
        store = (6 * opened + 0.11) * (2 - 1.185 * c) - 2.2 * c**2 / (0.01 + c**2)
        made = 0.14 * (0.16 - i) + 0.3 * (c + 0.22) / (c + 1.1) + 5.0 * (time < 0.06) * (np.arange(12) == 0)
        membrane = 0.2 * i**2 / (1 + i**2) - 0.5 * c
        return np.concatenate(
            [store + membrane + 0.05 * laplace @ c, 0.14 * (q - (q + c) * h), made + 0.1 * laplace @ i]
        )

    y = np.repeat([p.C_0, p.h_0, p.I_0], 12)
    for start, end in ((0.0, 0.06), (0.06, stop)):
        y = solve_ivp(flow, (start, end - 1e-12), y, "LSODA", rtol=1e-10, atol=1e-12).y[:, -1]
    model = RingModel(p, shape, False, (0,), period_s=100.0, on_s=0.06)
    recording = simulate_ring(model, duration=stop, dt=1e-3, record_dt=stop)
    assert y[:12].max() > 3 * y[:12].min()  # the wave is on its way
    assert recording.calcium.values[-1] == pytest.approx(y[:12], abs=1e-3)
    assert recording.ip3.values[-1] == pytest.approx(y[24:], abs=1e-3)


def test_diffusion_alone_conserves_what_it_moves() -> None:
    """All fluxes but diffusion off: the mean stays to rounding, the differences decay."""
    still = DiffusiveAstrocyteParameters(v_1=1e-30, v_2=0, v_3=0, v_4=0, v_6=0, k_1=0, tau_r=1e30, D_I=0.5)
    model = RingModel(still, (8,), True, (2,), period_s=100.0, on_s=0.1)
    recording = simulate_ring(model, duration=4.0, dt=1e-2, record_dt=1.0)
    total = recording.ip3.values.sum(axis=1) - 8 * still.I_0
    assert total[1:] == pytest.approx(0.5, rel=1e-9)  # 5 umol/(l s) for 0.1 s
    assert np.all(np.diff(np.ptp(recording.ip3.values[1:], axis=1)) < 0)
    assert recording.calcium.values == pytest.approx(still.C_0)


def test_a_step_too_large_for_calcium_is_refused() -> None:
    with pytest.raises(InputError, match=r"^dt: "):
        simulate_ring(RING["gordleeva-2021"], duration=10, dt=0.2, record_dt=0.2)
