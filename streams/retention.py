"""Which records of `sealed` and `shares` nobody needs any more: the rule by which ``evenstream retention run`` deletes.

Records in flight are unreadable once the epochs that they were sealed to are destroyed; that they are deleted as well,
below the offsets that their readers have committed, is hygiene on top (DESIGN section 3).

**How the committed offsets are known.** The truth about positions is in each role's encrypted state. A copy goes to the
role's consumer group, in the same transaction (``streams.kafka.shard``): the groups DEPLOYMENT.attach, DEPLOYMENT.a and
DEPLOYMENT.b. It is never ahead of the truth, and no role ever reads it.

**What the command needs of Kafka**, under a principal of its own, `retention`, which holds no key of any role:

    topic     DEPLOYMENT.sealed, DEPLOYMENT.shares   Describe, Delete (DeleteRecords)
    group     DEPLOYMENT.attach, .a, .b              Describe (committed offsets)

``evenstream retention check`` reads besides: Read and Describe of sealed, shares, state-seal, state-attach, state-a,
state-b and keys; and Read of the group DEPLOYMENT.state-reader, as every reader of topics to their end.

The roles `seal`, `attach`, `a` and `b` need Read of their own group (DEPLOYMENT.ROLE), to which they commit offsets.
"""
