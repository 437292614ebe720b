"""What can go wrong before it goes wrong: `evenstream doctor --as ROLE`, with the role's own settings and credentials.

``subject`` holds the role that is looked at and what was learnt of it so far; each check (``examination.CHECKS``) is a
function from it to findings; ``progress`` waits until the role's workers have moved. It works before the role has ever
run, where a folder, a key or a measurement that is yet to come is no fault, and beside a running one, where it is.
Nothing is written: no record, no file. What it takes from Kafka beside answers is a transactional id that no worker
has, since there is no other way to ask about those.
"""
