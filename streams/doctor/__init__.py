"""Why a pipeline stands still: `evenstream doctor` looks twice at all roles and at Kafka, and says what it found.

``workers`` and ``kafka_look`` look (``look`` holds what they see), ``standing`` says how far each role is, and each
check (``examination.CHECKS``) is a function from two looks to findings. Nothing is written anywhere, and no payload is
opened: it needs the public keys and what the principal `operator` may do.
"""
