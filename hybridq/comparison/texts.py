"""What the page says of its plots and its numbers."""

__all__ = ["COEFFICIENTS", "DISTANCES", "METHODS", "MODEL", "OUTPUTS", "PHI"]

OUTPUTS = (
    "Each dot is one output of one circuit: its deviation from the reference, with a 95 % interval from the shots. "
    "Diamonds are significant even among so many."
)
DISTANCES = (
    "Dots: as measured, the mean over the circuits. Grey bars: what shots alone give, in 95 % of simulated "
    "repetitions. Coloured lines: 95 % intervals of what is left without the shots; they lie left of the dots, and "
    "reach 0 where shots explain all."
)
PHI = (
    "Above, what the circuits add to an attention score; below, its error. Bands: 95 %, from the shots. Dashed: the "
    "reference."
)
COEFFICIENTS = (
    "The error of each coefficient of Φ, with its 95 % interval: a0 is the mean; ak and bk belong to the harmonic of "
    "frequency k."
)
MODEL = (
    "Left: how far the model's logits are off; the line is the 95 % interval over the examples, the grey bar what "
    "shots alone give. Right: its accuracy; the line is the 95 % interval for new examples, the dashed line the "
    "reference."
)
METHODS = (
    "Every backend ran the same circuits with the same angles, each circuit once. All numbers of a backend on this "
    "page come from that one set of shots.",
    "**Deviation**: what a backend measured minus what the reference gives, with a 95 % interval from its own shots. "
    "Of many intervals, one in twenty misses even without a difference; diamonds mark deviations that stay "
    "significant when this is taken into account (Holm's method, 5 % for all together).",
    "**The test against shot noise**: the sum of squared deviations in units of the noise that shots make (χ²), over "
    "all outputs, with the correlations of outputs that share shots. A small p says that shots do not explain the "
    "deviations. The verdict looks at the single output that deviates most and at the distributions, too, with 5 % "
    "for the three tests and all backends together.",
    "**Total variation distance**: how much more often some event happens than it should, at most. **Hellinger "
    "distance**: another distance of two distributions, which weighs rare outcomes more. Shots make both larger than "
    "0 on any backend; the grey bars show by how much (95 % of simulated repetitions). The intervals are of the "
    "distance without the shots.",
    "**Φ**: what the circuit adds to an attention score s, a periodic function of s. The model uses nothing else of "
    "the circuit. Bands are pointwise 95 %.",
    "**Error mitigation** returns estimates whose variance it reports itself; negative probabilities are replaced by "
    "the nearest distribution where a distance needs one. Its noise is taken as that of fewer shots.",
)
