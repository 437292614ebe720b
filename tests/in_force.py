"""A measurement proposed and approved on a real cluster, for tests whose subject is what comes after."""

from __future__ import annotations

from privacy import Measurement
from privacy.decisions import Proposal
from secure_agg.keyring import load_governance
from streams.governance import Governance
from streams.settings import Settings


def put_in_force(settings: Settings, measurement: Measurement, now_ms: int) -> Proposal:
    """Propose it, and have as many reviewers approve it as it takes."""
    governance = Governance(settings)
    keys = [
        load_governance(settings.keys.dir / "governance" / f"reviewer-{number}.key")
        for number in range(1, settings.keys.governance_threshold + 1)
    ]
    proposal = governance.propose(measurement, keys[0], now_ms)
    for key in keys:
        proposal = governance.approve(proposal, key, now_ms)
    assert proposal.state == "approved"
    return proposal
