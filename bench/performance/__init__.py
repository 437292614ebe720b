"""``make bench``: what evenstream costs, side by side with what people would use for a plain count.

Everything is measured in one run, on one topic of events, in turns, and told as ratios (docs/performance.md).
"""
