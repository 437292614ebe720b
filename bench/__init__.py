"""Benchmarks: `python -m bench.NAME`. Speed is a feature, measured here and not in timed tests."""
