"""The integer classifier once more, in plain Python integers, one token and one number at a time.

Written from the description of the program alone; it shares no code with the package. Slow and obvious.
"""

from fractions import Fraction
from itertools import chain
from math import floor

TOP = 2**23 - 1


def shifted(x, shift):
    """x / 2**shift, halves rounded up."""
    return floor(Fraction(x) / Fraction(2) ** shift + Fraction(1, 2))


class Naive:
    """Runs a program given as the flat dictionary of its arrays."""

    def __init__(self, arrays):
        self.arrays = {name: array.tolist() for name, array in arrays.items()}
        self.cut = 0

    def __getitem__(self, name):
        return self.arrays[name]

    def sat(self, x):
        if abs(x) > TOP:
            self.cut += 1
            return TOP if x > 0 else -TOP
        return x

    def linear(self, name, x):
        weight, bias = self[f"{name}.weight"], self[f"{name}.bias"]
        return self.rescale(name, [sum(x[i] * weight[i][j] for i in range(len(x))) for j in range(len(bias))])

    def rescale(self, name, sums):
        multiplier, shift = self[f"{name}.multiplier"], self[f"{name}.shift"]
        out = []
        for j, total in enumerate(sums):
            total = self.sat(total + self[f"{name}.bias"][j])
            out.append(self.sat(shifted(total * multiplier[j % len(multiplier)], shift)))
        return out

    def curve(self, name, x):
        table, low, bits = self[f"{name}.table"], self[f"{name}.low"], self[f"{name}.step_bits"]
        high = low + (len(table) - 1) * 2**bits
        inside = min(max(x, low), high) - low
        i = min(inside // 2**bits, len(table) - 2)
        y = table[i] + shifted((table[i + 1] - table[i]) * (inside - i * 2**bits), bits)
        return y + shifted(max(x - high, 0), self[f"{name}.tail_shift"])

    def power(self, name, x):
        x = max(x, 1)
        n = x.bit_length() - 1
        rest = x * 2 ** (23 - n) - 2**23
        table = self[f"{name}.fraction"]
        i, f = divmod(rest, 2**17)
        value = table[i] + shifted((table[i + 1] - table[i]) * f, 17)
        return shifted(value * self[f"{name}.octave"][n], 14), self[f"{name}.octave_shift"][n] + 14

    def octaves(self, table, x):
        x = max(x, 1)
        n = x.bit_length() - 1
        i, f = divmod(x * 2 ** (23 - n) - 2**23, 2**19)
        i += 16 * n
        return table[i] + shifted((table[i + 1] - table[i]) * f, 19)

    def norm(self, name, x, at=()):
        epsilon, s = self[f"{name}.epsilon"], self[f"{name}.square_shift"]
        for index in at:
            epsilon, s = epsilon[index], s[index]
        mean = shifted(sum(x) * self[f"{name}.mean_multiplier"], self[f"{name}.mean_shift"])
        c = [v - mean for v in x]
        squares = self.sat(sum(shifted(v * v, s) for v in c) + epsilon)
        mantissa, shift = self.power(f"{name}.root", squares)
        unit = [shifted(v * mantissa, shift + s // 2 - 17) for v in c]
        gain, bias, gs = self[f"{name}.gain"], self[f"{name}.bias"], self[f"{name}.gain_shift"]
        return [self.sat(shifted(u * gain[j], gs) + bias[j]) for j, u in enumerate(unit)]

    def classify(self, tokens):
        """Logits; a token is a list of the rows that it activates, or a list of features."""
        return self.linear("readout.classifier", self.spikes(self.trace(tokens)))

    def classify_pair(self, first, second):
        """Logits of two documents."""
        a, b = self.spikes(self.trace(first)), self.spikes(self.trace(second))
        shift = self["readout.matching.0.product_shift"]
        product = [shifted(x * y, shift) for x, y in zip(a, b, strict=True)]
        difference = [x - y for x, y in zip(a, b, strict=True)]
        both = [self.sat(x) for x in a + b + product + difference]
        hidden = self.linear("readout.matching.0.hidden", both)
        return self.linear("readout.classifier", [max(x, 0) for x in hidden])

    def spikes(self, trace):
        gain, shift = self["readout.gain"], self["readout.gain_shift"]
        return [self.sat(shifted(x * gain[j % len(gain)], shift)) for j, x in enumerate(trace)]

    def trace(self, tokens):
        """Centred trace of a sequence."""
        position, size = self["position"], self["tokens"]
        dim = len(position[0])
        memory = None
        segments = [tokens[i : i + size] for i in range(0, len(tokens), size)]
        pool, places = [0] * len(self["readout.centre"]), 0
        for t, segment in enumerate(segments, 1):
            memory = self.enter(memory, len(segments), t)
            x = memory + self.stem(self.merged([self.embed(token) for token in segment], dim))
            layer = 0
            while f"layers.{layer}.write.shift" in self.arrays:
                x = self.layer(f"layers.{layer}", x, len(memory), dim)
                layer += 1
            memory, features = x[: len(memory)], x[len(memory) :]
            places += len(features)
            means = self.mean(features) + (self.mean(memory) if memory else [])
            share = self["readout.share"][len(segments)][t]
            pool = [self.sat(p + shifted(m * share, 15)) for p, m in zip(pool, means, strict=True)]
        drift = self["readout.drift"][sum(places >= band for band in self["readout.bands"])]
        return [p - c - d for p, c, d in zip(pool, self["readout.centre"], drift, strict=True)]

    def enter(self, memory, total, t):
        identity = self["retention.identity"]
        if t == 1:
            scaled = self["retention.initial"]
        elif "retention.norm.0.gain" in self.arrays:
            scaled = [self.norm("retention.norm.0", row, at=(total, t - 1)) for row in memory]
        else:
            factor = self["retention.factor"][total][t - 1]
            scaled = [[shifted(v * factor, self["retention.shift"]) for v in row] for row in memory]
        return [[self.sat(a + b) for a, b in zip(*rows, strict=True)] for rows in zip(scaled, identity, strict=True)]

    def embed(self, token):
        if self["embedding.active"]:
            rows = [self["embedding.linear.weight"][row] for row in token]
            return self.rescale("embedding.linear", [sum(column) for column in zip(*rows, strict=True)])
        return self.linear("embedding.linear", token)

    def merged(self, x, dim):
        if "embedding.merge.0.message_shift" not in self.arrays:
            return x
        shift, stride = self["embedding.merge.0.message_shift"], len(self["embedding.merge.0.linear.weight"]) // dim
        spikes = [[shifted(v, shift) for v in row] for row in x]
        spikes += [[0] * dim] * (-len(x) % stride)
        groups = [list(chain(*spikes[i : i + stride])) for i in range(0, len(spikes), stride)]
        return [self.linear("embedding.merge.0.linear", group) for group in groups]

    def stem(self, x):
        i = 0
        while f"stem.{i}.message_shift" in self.arrays:
            spikes = [[shifted(v, self[f"stem.{i}.message_shift"]) for v in row] for row in x]
            kernel = len(self[f"stem.{i}.linear.weight"]) // len(x[0])
            for place, row in enumerate(x):
                around = [place + (n - kernel // 2) * 2**i for n in range(kernel)]
                window = list(chain(*(spikes[p] if 0 <= p < len(x) else [0] * len(row) for p in around)))
                mixed = self.linear(f"stem.{i}.linear", window)
                x[place] = [self.sat(a + max(b, 0)) for a, b in zip(row, mixed, strict=True)]
            x = [self.norm(f"stem.{i}.norm", row) for row in x]
            i += 1
        return [
            [self.sat(a + b) for a, b in zip(row, self["position"][place], strict=True)] for place, row in enumerate(x)
        ]

    def layer(self, name, x, n_memory, dim):
        astro = self[f"{name}.write.astrocytic"]
        heads, width = len(astro), dim // len(astro)
        h = [[[0] * width for _ in range(width)] for _ in range(heads)]
        g = [[0] * width for _ in range(heads)]
        for place in [*range(n_memory, len(x)), *range(n_memory)]:
            spikes = [shifted(v, self[f"{name}.write.message_shift"]) for v in x[place]]
            k = self.linear(f"{name}.write.key", spikes)
            k = [self.sat(self.curve(f"{name}.write.phi", v)) for v in k]
            v = self.linear(f"{name}.write.value", spikes)
            for a in range(heads):
                for i in range(width):
                    phi = k[a * width + i]
                    g[a][i] = self.sat(g[a][i] + phi)
                    for j in range(width):
                        h[a][i][j] = self.sat(h[a][i][j] + (phi + astro[a][place][i]) * v[a * width + j])
        h = [[[shifted(v, self[f"{name}.write.shift"]) for v in row] for row in head] for head in h]
        response = self.arrays.get(f"{name}.write.response.0.table")
        if response is not None:
            g = [[self.octaves(response[a], v) for v in g[a]] for a in range(heads)]
        return [self.read(f"{name}.read", row, h, g) for row in x]

    def read(self, name, x, h, g):
        heads, width = len(h), len(h[0])
        spikes = [shifted(v, self[f"{name}.message_shift"]) for v in x]
        q = [self.sat(self.curve(f"{name}.phi", v)) for v in self.linear(f"{name}.query", spikes)]
        attended = []
        for a in range(heads):
            own = q[a * width : (a + 1) * width]
            for j in range(width):
                ratio = self.sat(sum(own[i] * h[a][i][j] for i in range(width)))
                if f"{name}.reciprocal.0.fraction" in self.arrays:
                    c = sum(own[i] * g[a][i] for i in range(width))
                    c = self.sat(c) if j == 0 else max(-TOP, min(TOP, c))  # counted once a head
                    mantissa, shift = self.power(f"{name}.reciprocal.0", c)
                    ratio = self.sat(shifted(ratio * mantissa, shift - self[f"{name}.ratio_shift"][a]))
                attended.append(shifted(ratio * self[f"{name}.multiplier"][a], self[f"{name}.shift"][a]))
        y = self.norm(f"{name}.norm", [self.sat(a + b) for a, b in zip(x, attended, strict=True)])
        hidden = self.linear(f"{name}.ffn_in", [shifted(v, self[f"{name}.ffn_shift"]) for v in y])
        out = self.linear(f"{name}.ffn_out", [max(v, 0) for v in hidden])
        return self.norm(f"{name}.ffn_norm", [self.sat(a + b) for a, b in zip(y, out, strict=True)])

    def mean(self, rows):
        total = [0] * len(rows[0])
        for row in rows:
            total = [self.sat(s + shifted(v, self["readout.sum_shift"])) for s, v in zip(total, row, strict=True)]
        mantissa, shift = self.power("readout.reciprocal", len(rows))
        return [self.sat(shifted(s * mantissa, shift + self["readout.mean_shift"])) for s in total]
