"""SPGD's Table II: a small transformer on sentences, with its controls.

    python -m experiments.text_classification --data sst2 --attention quantum --seeds 3

Files, in reading order: `jobs` (the training runs), `loading` (a run's model and data again),
`step_times`, `arms` (the runs of one attention with one optimizer), `claims`, `report`, `summary`.
"""
