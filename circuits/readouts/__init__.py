"""What is measured after a circuit: readouts, one file each.

A new readout is one file here, a frozen dataclass derived from `AbstractReadout`. The classes are
imported from `hybridq.circuits`.
"""
