"""Fused attention whose scores pass through a Fourier series.

It runs by tiles in torch, or by the compiled kernels.
"""
