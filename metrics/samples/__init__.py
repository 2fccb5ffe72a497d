"""Samples that somebody else made: folders, zips, npz and safetensors, read as a stream and checked."""
