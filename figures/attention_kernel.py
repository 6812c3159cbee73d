"""How far does the astrocyte reach? p_short round a driven process, its fit, and the kernel over token positions.

python figures/attention_kernel.py docs/images/attention_kernel.png
"""

import sys

import numpy as np
from matplotlib.figure import Figure

from rmaat.report.figures import COLOURS
from rmaat_bridge import AstrocyticKernel, fit_attention
from rmaat_bridge.kernel_families import KERNEL_FAMILIES
from rmaat_bridge.reference import point_drive


def draw() -> Figure:
    """Answer over the grid; against distance with fit and transport; the kernel."""
    recording = point_drive()
    fit = fit_attention(recording)
    length, transport = fit.parameters["length"], fit.findings["transport_length"]
    print(f"{fit.family}: response {length.value:.3f} ± {length.standard_error:.3f} grid steps")
    print(f"transport alone {transport.value:.4f} ± {transport.standard_error:.4f} grid steps")
    ratio = fit.findings["self_term"].value / fit.findings["first_neighbour"].value
    print(f"the driven process answers {ratio:.1f} times what the curve says at distance 0")

    figure = Figure(figsize=(11, 3.2), layout="constrained")
    place, decay, kernel = figure.subplots(1, 3)
    response = recording["p_short"].sel(time=slice(90, 135)).mean("time").values
    image = place.imshow(np.log10(response))
    figure.colorbar(image, ax=place, label="log$_{10}$ p$^s$")
    place.set(xlabel="presynaptic neuron", ylabel="postsynaptic neuron", title="answer to one driven process")

    middle = len(response) // 2
    distance = np.arange(middle + 1)
    decay.semilogy(
        distance, response[middle, middle:] / response[middle, middle + 1], "o", color="0.3", label="simulated"
    )
    shape = {name: fit.parameters[name].value for name in KERNEL_FAMILIES[fit.family].domain}
    for name, value, colour in (("response", length.value, COLOURS[0]), ("transport", transport.value, COLOURS[1])):
        curve = KERNEL_FAMILIES[fit.family].curve(np, (distance - 1) / value, **shape)
        decay.semilogy(distance[1:], curve[1:], color=colour, label=f"{name}: {value:.2f} steps")
    decay.set(xlabel="distance (grid steps)", ylabel="relative to the first neighbour", title="decay")
    decay.legend(frameon=False)

    image = kernel.imshow(AstrocyticKernel(fit)(16).detach().numpy(), vmin=0, vmax=1)
    figure.colorbar(image, ax=kernel)
    kernel.set(xlabel="token position j", ylabel="token position i", title="r$_{ij}$")
    return figure


if __name__ == "__main__":
    draw().savefig(sys.argv[1], dpi=110)
