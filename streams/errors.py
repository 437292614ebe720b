"""What can go wrong in evenstream's streams.

    EvenstreamError              the command line prints it and exits with 1 (Fenced: 75); never a traceback
    ├── SettingsError            a setting is unknown, malformed or contradictory
    ├── PrerequisiteMissing      Java, Maven or the like is not installed
    ├── KafkaUnavailable         the cluster cannot be reached, or did not answer in time
    │   └── AccessRefused        the cluster refuses this principal
    ├── TopicMismatch            topics are missing or differ from what the protocol needs
    ├── MembersMisplaced         member-attributes was written with another partitioner
    ├── GroupModelUnusable       what attach.model names is no group model
    ├── PositionLost             the log no longer holds what comes next
    ├── StateUnreadable          the role's own state does not open
    │   └── StateNewer             it opens, and a newer version of the role wrote it
    ├── RecipientAbsent          a recipient has announced no epoch key that is valid now
    ├── Fenced                   another instance took over this shard
    ├── SkipInvalid              a skip record is not in order, or no operator key signed it
    ├── InputError               a file that the user named is not what it should be
    ├── RecordMalformed          bytes from Kafka are not the record they should be: refused and counted
    │   ├── NotPublished           publish has not signed them
    │   └── VersionUnknown         they are of a format version that this role does not read
    └── ProtocolStop             a validly signed record breaks the protocol: its partition stops

Messages say what was expected, what came and what to do. They never carry a member id, a name, a probability or a
payload.
"""

from __future__ import annotations


class EvenstreamError(Exception):
    """Base of the errors that a user may see."""

    exit_status = 1
    """With which the command line ends."""


class SettingsError(EvenstreamError):
    """A setting is unknown, malformed or contradictory."""


class PrerequisiteMissing(EvenstreamError):
    """Something that this machine needs is not installed; the message holds the command that installs it."""


class KafkaUnavailable(EvenstreamError):
    """The cluster cannot be reached, did not answer in time, or refuses this principal."""


class AccessRefused(KafkaUnavailable):
    """The cluster refuses this principal: an ACL is missing, or the credentials are another's."""


class TopicMismatch(EvenstreamError):
    """Topics are missing, or differ from what the protocol needs."""


class MembersMisplaced(EvenstreamError):
    """A member's attributes lie in another partition than the member's rows."""


class GroupModelUnusable(EvenstreamError):
    """What ``attach.model`` names cannot be loaded, or does not do what a group model must."""


class PositionLost(EvenstreamError):
    """The log no longer holds the next record that a role's state names."""


class StateUnreadable(EvenstreamError):
    """A record of the role's own state does not open with the role's state key."""


class StateNewer(StateUnreadable):
    """A record of the role's own state holds fields that this version does not know."""


class RecipientAbsent(EvenstreamError):
    """A recipient has no valid epoch key, so nothing can be sent to it; the sender waits, and drops nothing."""


class Fenced(EvenstreamError):
    """Another instance with the same transactional id took over.

    Whoever restarts processes can tell it by its exit status, and should wait longer each time: two instances of one
    shard that are both started again at once would take over from each other for ever.
    """

    exit_status = 75


class SkipInvalid(EvenstreamError):
    """A skip record is malformed, was signed for elsewhere, or by nobody who may."""


class InputError(EvenstreamError):
    """A file that the user named is missing or is not what it should be."""


class RecordMalformed(EvenstreamError):
    """Bytes from Kafka are not the record that they should be."""


class NotPublished(RecordMalformed):
    """Publish has not signed a record of `fairness-metrics`.

    Attributes:
        reason: why, in one word (``streams.records.published``).
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class VersionUnknown(RecordMalformed):
    """A record of a format version that this role does not read: a newer role wrote it, or anyone."""


class ProtocolStop(EvenstreamError):
    """A validly signed record breaks the protocol; its partition stops until an operator has looked."""
