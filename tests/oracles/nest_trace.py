"""Calcium, IP3 and h of one NEST ``astrocyte_lr_1994`` under a fixed train of spikes, written as CSV.

Run it with a Python that has NEST: ``python tests/oracles/nest_trace.py tests/oracles/nest_trace.csv``.
"""

import sys

import nest

SPIKES_MS = [1000.0, 1500.0, 2000.0, 12000.0, 13000.0, 30000.0, 30500.0, 31000.0, 31500.0]
DELAY_MS = 1.0
STEP_MS = 0.1
INTERVAL_MS = 100.0
DURATION_MS = 60000.0

nest.ResetKernel()
nest.resolution = STEP_MS
cell = nest.Create("astrocyte_lr_1994", params={"delta_IP3": 0.2})
source = nest.Create("spike_generator", params={"spike_times": SPIKES_MS})
meter = nest.Create("multimeter", params={"record_from": ["Ca_astro", "IP3", "h_IP3R"], "interval": INTERVAL_MS})
nest.Connect(source, cell, syn_spec={"weight": 1.0, "delay": DELAY_MS})
nest.Connect(meter, cell)
nest.Simulate(DURATION_MS + DELAY_MS)

events = meter.events
with open(sys.argv[1], "w") as file:
    file.write(f"# NEST {nest.__version__}, astrocyte_lr_1994 with delta_IP3 0.2; step {STEP_MS} ms\n")
    file.write(f"# spikes in ms, each arriving {DELAY_MS} ms later: {' '.join(map(str, SPIKES_MS))}\n")
    file.write("time_ms,calcium,ip3,h\n")
    for row in zip(events["times"], events["Ca_astro"], events["IP3"], events["h_IP3R"], strict=True):
        file.write(",".join(f"{value:.17g}" for value in row) + "\n")
