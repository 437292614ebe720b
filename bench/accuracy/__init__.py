"""`make accuracy`: do the estimates and their intervals hold what they promise? Simulated, and on a real log.

Everything runs on arrays in this process (and, for :mod:`bench.accuracy.pipeline`, on the pipeline's log in memory);
nothing needs Kafka. The page and its figures are made anew by every run: docs/accuracy.md.
"""
