"""The supply chain: what the run-time stands on, as a bill of materials and as a check against known vulnerabilities.

    lock    what requirements.lock pins
    sbom    ``make sbom``: CycloneDX of the lock, and of the developers' Kafka apart
    audit   ``make audit-deps``: the lock against an export of known vulnerabilities, without a network

Not installed with evenstream; the standard library and `packaging` are enough for it.
"""
