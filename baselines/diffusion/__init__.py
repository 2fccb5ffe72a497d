"""Denoiser convention, noise laws, samplers, averages."""
