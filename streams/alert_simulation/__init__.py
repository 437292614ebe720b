"""What the alarms of ``estimator.detection`` promise, measured: false alarms, delays, and how long an alarm outlasts.

Beside the e-detector itself, as ``publish`` runs it, stand a plain threshold and a CUSUM. Worlds are Gaussian ones, in
which the promise is made or bent by a known amount, and real tables, read by the estimators.
"""
