"""The contract's promises on real engines, which need an NVIDIA GPU: make gpu-test."""
