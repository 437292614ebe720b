"""Is the noise what the budget says? An attack on each party's releases, through the code that makes them.

``make audit-privacy`` runs the pipeline on neighbouring inputs, looks at one party's releases as the other party could
(its own share, without noise, taken off), and measures how well the two inputs can be told apart. What it finds is a
lower bound on the Gaussian-DP parameter mu (Dong, Roth, Su 2019): if that passes what was promised, the promise is
broken, whatever the calibration says. Planted bugs show that it would be seen.

Why one party's release and not the published sum: the sum has twice the variance that was promised, so half the noise,
a noise that is drawn twice or a missing draw of one party would all hide in it. The promise is kept by each party for
itself, against everyone else together, the other party included.
"""
