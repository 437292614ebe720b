"""The records on the wire, byte by byte; see docs/protocol.md. They know bytes, and no Kafka."""
