"""How large a deployment must be: a short model of cost, from rates and members to cores, memory, bytes and partitions.

`load` says what is asked, `traffic` turns it into batches, transactions and windows by the roles' own rules,
`record_bytes` and `topics` count what they write, `cores` and `memory` what they take, and `deployment` searches for
the fewest partitions and workers. What one thing costs is measured (``constants``); all else follows from the formats.
"""

from streams.sizing.deployment import RoleSize, Size, size_of
from streams.sizing.load import Layout, Load, load_of
from streams.sizing.topics import TopicSize

__all__ = ["Layout", "Load", "RoleSize", "Size", "TopicSize", "load_of", "size_of"]
