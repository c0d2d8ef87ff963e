"""Attention whose scores pass through a Fourier series, fused: in torch, and by the compiled kernels."""
