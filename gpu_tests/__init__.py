"""Tests of the contract on real engines, which need an NVIDIA GPU: make gpu-test."""
