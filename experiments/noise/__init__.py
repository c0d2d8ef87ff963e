"""What noise does to a trained quantum-attention classifier.

    python -m experiments.text_classification --data sst2 --attention quantum --output runs/sst2
    python -m experiments.noise runs/sst2/quantum-adam-seed*

The runs are trained without noise. They are evaluated with depolarising noise or damping after
every gate, with bits that are read wrongly, and with shots (`hybridq.backends.aer` says what the
levels are). The control that decides what an accuracy means is the same model with the weight on
Phi set to 0. Phi is compared up to its constant, which softmax cancels.

Files, in reading order: `settings` (each noise that is tried), `readout_mitigation`, `effects`
(what a noise does to a model), `records` (all noises, run by run), `figures`.
"""
