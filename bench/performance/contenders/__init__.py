"""The contenders: the floor, and what people would use for a plain count, none of them private.

    floor           confluent-kafka and msgspec, nothing counted: the denominator of every ratio
    faust_count, quix_count, bytewax_count, kafka_streams/
                    a windowed count by group, each as its documentation has it
    program         what each is as a program: arguments and marks; entries: what they are, with which settings
    counts          what each has written, held against the truth; preparing: their environment and their classes

Nothing is imported here: contenders run in an environment of their own, without evenstream's packages.
"""
